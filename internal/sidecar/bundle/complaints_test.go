//go:build linux

package bundle

import (
	"bytes"
	"strings"
	"testing"
)

// Attack J4: an upstream makes a service complain without end, until the engine's log of the bundle has no
// room for the audit log, which stands in it as well.
func TestAttackJ4_ComplaintsEnd(t *testing.T) {
	r := launch(t, script(t, `head -c 20000000 /dev/zero | tr '\0' x >&2; echo done >&2; echo '{"ready":true}'; exec sleep 60`), config(t))
	r.says(t, "the rest is left out")
	if said := r.stderr.String(); len(said) > maxComplaints+100 || strings.Contains(said, "done") {
		t.Errorf("it has said %d bytes", len(said))
	}
}

func TestComplaints(t *testing.T) {
	var out bytes.Buffer
	c := newComplaints(&out)
	for _, line := range []string{"one\n", strings.Repeat("x", maxComplaints), "more\n"} {
		if n, err := c.Write([]byte(line)); n != len(line) || err != nil {
			t.Errorf("got %d, %v", n, err)
		}
	}
	if said := out.String(); !strings.HasPrefix(said, "one\nxx") || !strings.HasSuffix(said, "x\nmore than 16 MiB was complained of: the rest is left out\n") {
		t.Errorf("got %d bytes, %.10q … %q", len(said), said, said[max(0, len(said)-70):])
	}
}
