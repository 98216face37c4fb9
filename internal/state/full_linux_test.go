package state

import (
	"os"
	"os/exec"
	"os/signal"
	"strconv"
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
	// The limit is a child's: what testing itself writes meanwhile must not meet it.
	c := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run", "^TestEndWithoutRoom$")
	c.Env = append(os.Environ(), noRoom+"="+s.home+":"+strconv.Itoa(len(before)+20))
	if said, _ := c.CombinedOutput(); !strings.Contains(string(said), "cannot close the audit log of "+identity) {
		t.Errorf("got %s", said)
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

// noRoom tells a child of TestNoRoomForTheAgentsEnd which home it is, and how large a file may be.
const noRoom = "STATE_TEST_NO_ROOM"

// TestEndWithoutRoom is that child; by itself it does nothing.
func TestEndWithoutRoom(t *testing.T) {
	home, most, told := strings.Cut(os.Getenv(noRoom), ":")
	if !told {
		return
	}
	size, err := strconv.ParseUint(most, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	signal.Ignore(unix.SIGXFSZ)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: size, Max: size}); err != nil {
		t.Fatal(err)
	}
	t.Log(Open(home).End(identity, Ending{At: time.Now()}))
	t.Fail() // so that what it logged is shown
}
