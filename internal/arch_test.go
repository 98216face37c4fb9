package internal_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// layer of each package below internal (DESIGN §10). Imports go down, or stay level
// outside the services and the backends.
func layer(pkg string) (int, bool) {
	for prefix, n := range map[string]int{
		"manifest": 0, "policy": 0, "dlp": 0, "secret": 0,
		"state": 1, "audit": 1, "hostcmd": 1, "pki": 1, "image": 1, "secretsource": 1,
		"bottle": 2, "control": 2, "provider": 2,
		"backend": 3, "provision": 3, "guest": 3, "sidecar": 3,
		"cli": 4, "dashboard": 4, "prove": 4,
	} {
		if pkg == prefix || strings.HasPrefix(pkg, prefix+"/") {
			return n, true
		}
	}
	return 0, false
}

// apart are siblings that must not know each other. The bundle starts the services.
func apart(from, to string) bool {
	for _, family := range []string{"backend/", "sidecar/"} {
		if strings.HasPrefix(from, family) && strings.HasPrefix(to, family) && from != "sidecar/bundle" {
			return true
		}
	}
	return false
}

func TestImportsGoDown(t *testing.T) {
	const root = "github.com/bot-bottle/bot-bottle/internal/"
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; seen++ {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		from := strings.TrimPrefix(p.ImportPath, root)
		if from == strings.TrimSuffix(p.ImportPath, "/") {
			continue // package internal itself
		}
		high, known := layer(from)
		if !known {
			t.Errorf("%s is in no layer", from)
		}
		for _, imported := range p.Imports {
			to, ours := strings.CutPrefix(imported, root)
			if low, _ := layer(to); ours && (low > high || apart(from, to)) {
				t.Errorf("%s → %s: layer %d imports layer %d", from, to, high, low)
			}
		}
	}
	if seen < 15 {
		t.Errorf("only %d packages were looked at", seen)
	}
}
