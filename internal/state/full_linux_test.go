package state

import (
	"os"
	"os/signal"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bot-bottle/bot-bottle/internal/audit"
)

// The disk is full in the middle of the last line of a log: nothing of it stays, the record is
// open still, and with room again both are closed.
func TestNoRoomForTheAgentsEnd(t *testing.T) {
	s := bottled(t, ofRun(t, audit.Head{}, 2, true))
	before, err := os.ReadFile(s.AuditFile(identity))
	if err != nil {
		t.Fatal(err)
	}
	signal.Ignore(unix.SIGXFSZ)
	defer signal.Reset(unix.SIGXFSZ)
	var whole unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &whole); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(len(before)) + 20, Max: whole.Max}); err != nil {
		t.Fatal(err)
	}
	err = s.End(identity, Ending{At: time.Now()})
	if restored := unix.Setrlimit(unix.RLIMIT_FSIZE, &whole); restored != nil {
		t.Fatal(restored)
	}
	if err == nil || !strings.Contains(err.Error(), "cannot close the audit log of "+identity) {
		t.Errorf("got %v", err)
	}
	if after, err := os.ReadFile(s.AuditFile(identity)); err != nil || string(after) != string(before) {
		t.Errorf("got %s, %v", after, err)
	}
	if m, err := s.Read(identity); err != nil || m.EndedAt != nil {
		t.Errorf("it is closed: %+v, %v", m, err)
	}
	if err := s.End(identity, Ending{At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if report, err := s.verify(t); err != nil || report.Lines != 5 {
		t.Errorf("got %+v, %v", report, err)
	}
}
