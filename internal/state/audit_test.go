package state

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
)

const identity = "dev-aaaaaa"

// ofRun is what a run of the bottle writes after head.
func ofRun(t *testing.T, head audit.Head, n int, ended bool) string {
	t.Helper()
	chain := audit.Continue(head)
	kinds := []string{audit.Begin}
	for range n {
		kinds = append(kinds, audit.Request)
	}
	if ended {
		kinds = append(kinds, audit.End)
	}
	var log strings.Builder
	for _, kind := range kinds {
		line, err := chain.Line(audit.Event{Bottle: identity, Service: audit.Bundle, Kind: kind})
		if err != nil {
			t.Fatal(err)
		}
		log.Write(line)
	}
	return log.String()
}

// bottled is a store with one bottle, whose log is there as far as it was read.
func bottled(t *testing.T, log string) Store {
	t.Helper()
	s := Open(t.TempDir())
	if err := errors.Join(s.Write(Metadata{Identity: identity}), os.WriteFile(s.AuditFile(identity), []byte(log), 0o600)); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s Store) verify(t *testing.T) (audit.Report, error) {
	t.Helper()
	m, err := s.Read(identity)
	if err != nil {
		t.Fatal(err)
	}
	log, err := s.AuditLog(identity)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	return audit.Verify(log, audit.Expect{Bottle: identity, Head: m.Audit, Ended: m.EndedAt != nil})
}

// Whatever a process had read when it died, the log is whole once the run was read again,
// and so is that of the run after.
func TestTheLogIsWholeAfterACrash(t *testing.T) {
	first := ofRun(t, audit.Head{}, 4, true)
	for _, read := range []int{0, 1, 50, strings.Index(first, "\n"), strings.Index(first, "\n") + 1, len(first) - 30, len(first) - 1, len(first)} {
		s := bottled(t, first[:read])
		if err := errors.Join(s.KeepAudit(identity, strings.NewReader(first)), s.End(identity, Ending{At: time.Now()})); err != nil {
			t.Fatal(err)
		}
		if report, err := s.verify(t); err != nil || report.Runs != 1 || report.Open {
			t.Errorf("%d bytes were read: got %+v, %v", read, report, err)
		}
		head, cut, err := s.ContinueAudit(identity)
		if err != nil || cut != 0 {
			t.Fatalf("got %d, %v", cut, err)
		}
		second := ofRun(t, head, 2, true)
		if err := errors.Join(s.KeepAudit(identity, strings.NewReader(second)), s.KeepAudit(identity, strings.NewReader(second)), s.End(identity, Ending{At: time.Now()})); err != nil {
			t.Fatal(err)
		}
		if report, err := s.verify(t); err != nil || report.Runs != 2 || report.Open {
			t.Errorf("%d bytes were read, second run: got %+v, %v", read, report, err)
		}
	}
}

// An engine that lost what it had not written yet takes nothing from us.
func TestTheLogIsNeverMadeShorter(t *testing.T) {
	whole := ofRun(t, audit.Head{}, 4, true)
	for _, run := range []string{"", whole[:20], whole[:strings.Index(whole, "\n")+1], whole} {
		s := bottled(t, whole)
		if err := s.KeepAudit(identity, strings.NewReader(run)); err != nil {
			t.Fatal(err)
		}
		if data, err := os.ReadFile(s.AuditFile(identity)); err != nil || string(data) != whole {
			t.Errorf("got %v, %s", err, data)
		}
	}
	s := bottled(t, whole)
	broken := io.MultiReader(strings.NewReader(whole[:len(whole)-5]), errReader{})
	if err := s.KeepAudit(identity, broken); err == nil {
		t.Error("half a run was taken for a run")
	}
	if data, err := os.ReadFile(s.AuditFile(identity)); err != nil || string(data) != whole {
		t.Errorf("got %v, %s", err, data)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("lost the engine") }

// A line that a crash cut short, and that nobody has whole any more, is taken off, and the
// next run says so.
func TestATornLineIsTakenOff(t *testing.T) {
	log := ofRun(t, audit.Head{}, 4, false)
	s := bottled(t, log+`{"seq":6,"pr`)
	if _, err := s.verify(t); err == nil || !strings.Contains(err.Error(), "line 6: it is cut short") {
		t.Errorf("got %v", err)
	}
	head, cut, err := s.ContinueAudit(identity)
	if err != nil || cut != 12 || head.Lines != 5 {
		t.Fatalf("got %v, %d, %v", head, cut, err)
	}
	if data, err := os.ReadFile(s.AuditFile(identity)); err != nil || string(data) != log {
		t.Errorf("got %v, %s", err, data)
	}
}

// A bottle that ended in that crash is closed all the same, by a line that says so; and half a line
// that nobody could tell of stays.
func TestATornLogIsClosed(t *testing.T) {
	log, code := ofRun(t, audit.Head{}, 4, false), 137
	s := bottled(t, log+`{"seq":6,"pr`)
	if err := s.End(identity, Ending{At: time.Now(), Code: &code, How: "it was killed"}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(s.AuditFile(identity))
	last := strings.TrimPrefix(string(data), log)
	if err != nil || strings.Count(last, "\n") != 1 || !strings.Contains(last, `"event":"agent-end","reason":"it was killed; 12 bytes of a line that a crash had cut short were taken off before this","exit":137}`) {
		t.Errorf("got %s, %v", data, err)
	}
	if report, err := s.verify(t); err != nil || report.Lines != 6 {
		t.Errorf("got %+v, %v", report, err)
	}
	for _, log := range []string{`{"seq":1,"pr`, string(data) + `{"seq":7,"pr`} { // no run, or one that did not begin
		s := bottled(t, log)
		if err := s.End(identity, Ending{At: time.Now(), Code: &code}); err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadFile(s.AuditFile(identity)); err != nil || string(left) != log {
			t.Errorf("got %s, %v", left, err)
		}
	}
}

// Attack H5: the log of a bottle that ended loses its last lines, or all, before it is
// resumed. The next run does not make it whole again.
func TestAttackH5_ResumeDoesNotHealACutLog(t *testing.T) {
	log := ofRun(t, audit.Head{}, 4, true)
	for name, left := range map[string]string{"the end is gone": log[:strings.LastIndex(strings.TrimSuffix(log, "\n"), "\n")+1], "all is gone": "", "the file is gone": "-"} {
		t.Run(name, func(t *testing.T) {
			s := bottled(t, log)
			err := errors.Join(s.End(identity, Ending{At: time.Now()}), os.WriteFile(s.AuditFile(identity), []byte(left), 0o600))
			if left == "-" {
				err = errors.Join(err, os.Remove(s.AuditFile(identity)))
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.verify(t); err == nil {
				t.Error("it verifies before")
			}
			head, _, err := s.ContinueAudit(identity)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(s.KeepAudit(identity, strings.NewReader(ofRun(t, head, 1, true))), s.End(identity, Ending{At: time.Now()})); err != nil {
				t.Fatal(err)
			}
			if _, err := s.verify(t); err == nil {
				t.Error("it verifies after")
			}
		})
	}
}

func TestABottleWithoutALog(t *testing.T) {
	s := Open(t.TempDir())
	if head, cut, err := s.ContinueAudit(identity); err != nil || cut != 0 || head != (audit.Head{}) {
		t.Errorf("got %v, %d, %v", head, cut, err)
	}
	log, err := s.AuditLog(identity)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(log); len(data) > 0 || err != nil {
		t.Errorf("got %q, %v", data, err)
	}
	if err := s.KeepAudit(identity, strings.NewReader("")); err != nil {
		t.Error(err)
	}
}

// How the agent ended is in the log once, whoever tells it, and the record has the head behind
// it. A log that lost its file is not made anew.
func TestTheAgentsEndIsInTheLog(t *testing.T) {
	s := bottled(t, ofRun(t, audit.Head{}, 2, true))
	code, at := 7, time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for range 2 { // the second finds the first
		if err := s.End(identity, Ending{At: at, Code: &code, How: "it ended by itself"}); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(s.AuditFile(identity))
	if err != nil || strings.Count(string(data), `"event":"agent-end"`) != 1 || !strings.Contains(string(data), `"time":"2026-03-04T05:06:07Z","bottle":"`+identity+`","service":"agent","event":"agent-end","reason":"it ended by itself","exit":7}`) {
		t.Errorf("got %s, %v", data, err)
	}
	if report, err := s.verify(t); err != nil || report.Open || report.Lines != 5 {
		t.Errorf("got %+v, %v", report, err)
	}
	if head, _, err := s.ContinueAudit(identity); err != nil || head.Lines != 5 {
		t.Errorf("got %+v, %v", head, err)
	}
	if err := s.KeepAudit(identity, strings.NewReader(ofRun(t, audit.Head{}, 2, true))); err != nil { // who was late
		t.Fatal(err)
	}
	if report, err := s.verify(t); err != nil || report.Lines != 5 {
		t.Errorf("got %+v, %v", report, err)
	}
	if err := os.Remove(s.AuditFile(identity)); err != nil {
		t.Fatal(err)
	}
	if err := s.End(identity, Ending{At: at, Code: &code}); err != nil {
		t.Fatal(err)
	}
	if report, err := s.verify(t); err == nil {
		t.Errorf("a log that is gone is whole: %+v", report)
	}
}
