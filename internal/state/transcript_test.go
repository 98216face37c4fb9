package state

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A beginning of a run's transcript is kept where nothing of it is, and never takes the place of more.
func TestATranscriptIsNotReplacedByLessOfIt(t *testing.T) {
	s := Open(t.TempDir())
	if err := s.Write(Metadata{Identity: "x-aaaaaa"}); err != nil {
		t.Fatal(err)
	}
	began, lost := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), errors.New("the connection is lost")
	for _, step := range []struct {
		copied string
		err    error
		want   string
	}{
		{"be", &BrokenOffError{lost}, "be"}, {"begin", &BrokenOffError{lost}, "begin"}, {"beg", &BrokenOffError{lost}, "begin"}, {"", &BrokenOffError{lost}, "begin"},
		{"beginning and end", nil, "beginning and end"}, {"beginning", &BrokenOffError{lost}, "beginning and end"}, {"end, as the rest was too long", nil, "end, as the rest was too long"},
	} {
		if err := s.KeepTranscript(run(1, began), func(w io.Writer) error { _, _ = io.WriteString(w, step.copied); return step.err }); !errors.Is(err, errors.Unwrap(step.err)) {
			t.Errorf("%q, %v: got %v", step.copied, step.err, err)
		}
		all := s.Transcripts("x-aaaaaa")
		if len(all) != 1 {
			t.Fatalf("got %v", all)
		}
		if kept, err := os.ReadFile(all[0]); err != nil || string(kept) != step.want {
			t.Errorf("%q, %v: kept is %q, %v", step.copied, step.err, kept, err)
		}
	}
}

// The last runs keep their transcripts, whole ones and for the operator alone; a run that
// shows nothing, or that cannot be searched, leaves none.
func TestTranscriptsAreKept(t *testing.T) {
	s := Open(filepath.Join(t.TempDir(), "[a] *")) // a home may be called so
	if err := s.Write(Metadata{Identity: "x-aaaaaa"}); err != nil {
		t.Fatal(err)
	}
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for n := range maxTranscripts + 3 { // the clock is set back before each
		if err := s.KeepTranscript(run(n+1, began.Add(-time.Duration(n)*time.Hour)), func(w io.Writer) error {
			_, err := io.WriteString(w, "run "+string(rune('0'+n)))
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.KeepTranscript(run(maxTranscripts+4, began), func(io.Writer) error { return nil }); err != nil {
		t.Error(err)
	}
	failed := errors.New("cannot be searched")
	if err := s.KeepTranscript(run(maxTranscripts+5, began), func(w io.Writer) error { _, _ = io.WriteString(w, "secret"); return failed }); !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(filepath.Join(s.Dir("x-aaaaaa"), "transcript-20260102T030405.000.cast"), []byte("of an earlier version"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.KeepTranscript(run(maxTranscripts+3, began.Add(-(maxTranscripts+2)*time.Hour)), func(w io.Writer) error { _, err := io.WriteString(w, "run 7"); return err }); err != nil {
		t.Fatal(err)
	}
	all := s.Transcripts("x-aaaaaa")
	if len(all) != maxTranscripts {
		t.Fatalf("got %v", all)
	}
	last, err := os.ReadFile(all[maxTranscripts-1])
	if err != nil || string(last) != "run 7" {
		t.Errorf("got %q, %v", last, err)
	}
	entries, err := os.ReadDir(s.Dir("x-aaaaaa"))
	for _, e := range entries {
		info, infoErr := e.Info()
		if err = errors.Join(err, infoErr); err == nil && info.Mode().Perm() != 0o600 || strings.HasPrefix(e.Name(), ".tmp") {
			t.Errorf("%s is %v", e.Name(), info.Mode())
		}
	}
}

// run is the record of a bottle's run.
func run(n int, began time.Time) Metadata {
	return Metadata{Identity: "x-aaaaaa", Runs: n, StartedAt: began}
}
