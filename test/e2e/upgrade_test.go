package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/test/standin"
)

// rewrite changes the record of a bottle.
func (h house) rewrite(identity string, change func(map[string]any)) {
	h.t.Helper()
	path := filepath.Join(h.Home, "state", identity, "metadata.json")
	data, err := os.ReadFile(path)
	var record map[string]any
	if err = errors.Join(err, json.Unmarshal(data, &record)); err != nil {
		h.t.Fatal(err)
	}
	change(record)
	data, err = json.Marshal(record)
	if err = errors.Join(err, os.WriteFile(path, data, 0o600)); err != nil {
		h.t.Fatal(err)
	}
}

// Upgrades: a bottle that the version before left on record is resumed.
func TestABottleOfFormat1IsResumed(t *testing.T) {
	dockerOnly(t, "no bottle of that format was in a machine")
	t.Parallel()
	h := open(t, standin.Options{})
	h.sleeper()
	identity := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "sleeper").Stdout)
	h.run(0, "kept", "exec", identity, "--", "sh", "-c", "cat > /workspace/file")
	h.run(0, "", "stop", identity)
	h.rewrite(identity, func(record map[string]any) {
		record["version"] = 1
		for _, name := range []string{"image_id", "versions", "manifest", "runs", "place"} {
			delete(record, name)
		}
	})
	h.run(0, "", "resume", "-y", "--detach", identity)
	h.rewrite(identity, func(record map[string]any) {
		if runs, _ := record["runs"].(float64); runs < 2 { // a first run that is interrupted may leave nothing behind, home and workspace included
			t.Errorf("it is on record as run %v", record["runs"])
		}
	})
	if r := h.run(0, "", "exec", identity, "--", "cat", "/workspace/file"); r.Stdout != "kept" {
		t.Errorf("got %q", r.Stdout)
	}
	h.run(0, "", "stop", identity)
	h.run(0, "", "logs", identity, "--verify")
	h.run(0, "", "rm", "-y", identity)
}

// With another engine at hand, nothing is said of a bottle and nothing is done to it: it may
// run where it is.
func TestABottleOfAnotherEngine(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	h.sleeper()
	identity := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "sleeper").Stdout)
	h.run(0, "", "stop", identity)
	place := ""
	h.rewrite(identity, func(record map[string]any) {
		place, _ = record["place"].(string)
		record["place"] = "ANOTHER:ENGINE"
		delete(record, "ended_at")
	})
	if place == "" {
		t.Fatal("the engine is not on record")
	}
	if r := h.run(0, "", "cleanup", "-y"); !strings.Contains(r.Stderr, "nothing to clean up") {
		t.Errorf("cleanup: got %s", r.Stderr)
	}
	if r := h.run(0, "", "list", "all"); !strings.Contains(r.Stdout, "unknown: it is on another engine") {
		t.Errorf("list: got %s", r.Stdout)
	}
	if r := h.run(0, "", "logs", identity); !strings.Contains(r.Stderr, "shown is what this host has recorded") {
		t.Errorf("logs: got %s", r.Stderr)
	}
	variable := map[backend]string{onDocker: "DOCKER_HOST", smolvm: "SMOLVM_DATA_DIR"}[h.on]
	for _, args := range [][]string{{"resume", "-y", identity}, {"rm", "-y", identity}} {
		if r := h.run(2, "", args...); !strings.Contains(r.Stderr, "it is on another engine than the one at hand") || !strings.Contains(r.Stderr, variable) {
			t.Errorf("%s: got %s", args[0], r.Stderr)
		}
	}
	h.rewrite(identity, func(record map[string]any) { record["place"] = place })
	h.run(0, "", "cleanup", "-y")
	h.run(0, "", "rm", "-y", identity)
}
