//go:build linux

package memory

import (
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// Format 1 did not count runs. A bottle that is resumed is not on its first one: a crash before its
// agent runs leaves the work in its workspace.
func TestWhatIsResumedIsNotOnItsFirstRun(t *testing.T) {
	d := Driver{Now: time.Now}
	var p Plan
	p.Resume = true
	if m := d.metadata(p, control.Log{}, state.Metadata{}); d.halfMade(nil, m) {
		t.Errorf("on run %d, its start counts as interrupted", m.Runs)
	}
	p.Resume = false
	if m := d.metadata(p, control.Log{}, state.Metadata{}); !d.halfMade(nil, m) {
		t.Errorf("a new one is on run %d", m.Runs)
	}
}
