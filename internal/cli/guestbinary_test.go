package cli

import (
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func packed(t *testing.T, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The Linux build is unpacked once, mended if it was changed, and another one goes beside it.
func TestTheGuestIsUnpacked(t *testing.T) {
	a := &App{home: t.TempDir()}
	path, err := a.unpackGuest("guest", packed(t, "one"))
	if err != nil || slurp(t, path) != "one" {
		t.Fatalf("got %s, %v", path, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("got %v, %v", info, err)
	}
	if err := os.WriteFile(path, []byte("evil"), 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	again, err := a.unpackGuest("guest", packed(t, "one"))
	if err != nil || again != path || slurp(t, path) != "one" {
		t.Errorf("changed: got %s, %v", again, err)
	}
	other, err := a.unpackGuest("guest", packed(t, "two"))
	if err != nil || other == path || slurp(t, other) != "two" || slurp(t, path) != "one" {
		t.Errorf("another: got %s, %v", other, err)
	}
	if _, err := a.unpackGuest("guest", packed(t, "one")[:10]); err == nil {
		t.Error("half of one was unpacked")
	}
	if left, _ := filepath.Glob(filepath.Join(a.home, "cache", ".guest-*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestABuildWithoutAGuestSaysSo(t *testing.T) {
	err := error(&noGuest{"/opt/bot-bottle-linux-arm64"})
	var hinter interface{ Hint() string }
	if !errors.As(err, &hinter) || !strings.Contains(hinter.Hint(), "GOOS=linux CGO_ENABLED=0 go build -o /opt/bot-bottle-linux-arm64") {
		t.Errorf("got %v", err)
	}
}
