package state

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/requests"
	"github.com/bot-bottle/bot-bottle/test/need"
)

// disk is a file system of the test's own, in a file that has what reached the disk and nothing
// else: what a program has written, and nobody has flushed, is not in it.
type disk struct{ image, at string }

func newDisk(t *testing.T) disk {
	t.Helper()
	if os.Geteuid() != 0 {
		need.Lacking(t, need.Dockerd, "a file system cannot be mounted without root")
	}
	d := disk{filepath.Join(t.TempDir(), "disk"), t.TempDir()}
	if err := errors.Join(os.WriteFile(d.image, nil, 0o600), os.Truncate(d.image, 16<<20)); err != nil {
		t.Fatal(err)
	}
	command(t, "mkfs.ext4", "-q", d.image)
	mount(t, d.image, d.at)
	return d
}

// mount: the kernel flushes nothing by itself for as long as a test takes, nor what a rename is
// often meant to flush.
func mount(t *testing.T, image, at string) {
	t.Helper()
	command(t, "mount", "-o", "loop,noauto_da_alloc,commit=600", image, at)
	t.Cleanup(func() { command(t, "umount", at) })
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}

// afterPowerLoss is the store as the machine finds it that lost its power just now.
func (d disk) afterPowerLoss(t *testing.T) Store {
	t.Helper()
	crashed, at := filepath.Join(t.TempDir(), "disk"), t.TempDir()
	command(t, "cp", d.image, crashed)
	mount(t, crashed, at)
	return Open(at)
}

// What a call has returned from is there after a loss of power, whole: what comes next, such as the
// first resource of a bottle or the removal of what an engine had of it, counts on that.
func TestWhatWasWrittenOutlivesALossOfPower(t *testing.T) {
	d := newDisk(t)
	s := Open(d.at)
	owner, err := s.Owner()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := d.afterPowerLoss(t).Owner(); got != owner || err != nil {
		t.Errorf("another owner: got %q, %v", got, err)
	}
	for _, agent := range []string{"first", strings.Repeat("second", 10000)} {
		if err := s.Write(Metadata{Identity: identity, Agent: agent}); err != nil {
			t.Fatal(err)
		}
		if got, err := d.afterPowerLoss(t).Read(identity); got.Agent != agent || err != nil {
			t.Errorf("the record of %.6s: got %.20q, %v", agent, got.Agent, err)
		}
	}
	run := ofRun(t, audit.Head{}, 4, true)
	if err := s.KeepAudit(identity, strings.NewReader(run)); err != nil {
		t.Fatal(err)
	}
	if got := readLog(t, d.afterPowerLoss(t)); got != run {
		t.Errorf("the run: got %q", got)
	}
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	if err := errors.Join(
		s.KeepDecision(identity, requests.Request{ID: "dev-1"}),
		s.AddLayer(identity, "layer:1"),
		s.KeepTranscript(Metadata{Identity: identity, StartedAt: at}, func(w io.Writer) error { _, err := io.WriteString(w, "shown"); return err }),
	); err != nil {
		t.Fatal(err)
	}
	after := d.afterPowerLoss(t)
	if data, err := os.ReadFile(after.decisionsFile(identity)); !strings.Contains(string(data), `"dev-1"`) {
		t.Errorf("the decision: got %q, %v", data, err)
	}
	if layers, err := after.Layers(identity); len(layers) != 1 || err != nil {
		t.Errorf("the layers: got %q, %v", layers, err)
	}
	if shown := transcripts(t, after); shown != "shown" {
		t.Errorf("the transcript: got %q", shown)
	}
	if err := s.End(identity, Ending{At: at, How: "it ended by itself"}); err != nil {
		t.Fatal(err)
	}
	after = d.afterPowerLoss(t)
	if m, err := after.Read(identity); err != nil || m.EndedAt == nil || !m.EndedAt.Equal(at) {
		t.Errorf("the end: got %+v, %v", m.EndedAt, err)
	}
	if report, err := after.verify(t); err != nil || report.Lines != 7 {
		t.Errorf("the log: got %+v, %v", report, err)
	}
}

// Each of these is the only write before the power goes, so that no other one's flush helps.
func TestEachWriteIsFlushedByItself(t *testing.T) {
	for name, c := range map[string]struct {
		write func(Store) error
		there func(*testing.T, Store) bool
	}{
		"decision": {
			func(s Store) error { return s.KeepDecision(identity, requests.Request{ID: "dev-1"}) },
			func(_ *testing.T, s Store) bool {
				data, _ := os.ReadFile(s.decisionsFile(identity))
				return strings.Contains(string(data), `"dev-1"`)
			},
		},
		"layer": {
			func(s Store) error { return s.AddLayer(identity, "layer:1") },
			func(_ *testing.T, s Store) bool { layers, _ := s.Layers(identity); return len(layers) == 1 },
		},
		"transcript": {
			func(s Store) error {
				return s.KeepTranscript(Metadata{Identity: identity, StartedAt: time.Now()}, func(w io.Writer) error { _, err := io.WriteString(w, "shown"); return err })
			},
			func(t *testing.T, s Store) bool { return transcripts(t, s) == "shown" },
		},
		"agent's end": {
			func(s Store) error { _, err := s.CloseAudit(identity, Ending{At: time.Now()}); return err },
			func(t *testing.T, s Store) bool { return strings.Contains(readLog(t, s), `"event":"agent-end"`) },
		},
		"half a line taken off": {
			func(s Store) error { _, _, err := s.ContinueAudit(identity); return err },
			func(t *testing.T, s Store) bool { return !strings.HasSuffix(readLog(t, s), "{") },
		},
		"set aside": {
			func(s Store) error {
				if err := os.WriteFile(s.recordFile(identity), []byte("{"), 0o600); err != nil {
					return err
				}
				_, err := s.SetAside(identity, time.Now())
				return err
			},
			func(_ *testing.T, s Store) bool {
				_, err := os.Stat(s.recordFile(identity))
				return errors.Is(err, fs.ErrNotExist)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDisk(t)
			s := Open(d.at)
			if err := errors.Join(s.Write(Metadata{Identity: identity}), s.KeepAudit(identity, strings.NewReader(ofRun(t, audit.Head{}, 2, false)+"{"))); err != nil {
				t.Fatal(err)
			}
			if err := c.write(s); err != nil {
				t.Fatal(err)
			}
			if !c.there(t, d.afterPowerLoss(t)) {
				t.Error("it is not there after a loss of power")
			}
		})
	}
}

// On a full disk each write fails, and leaves what was there as it was, and nothing beside it.
func TestAFullDiskChangesNothing(t *testing.T) {
	d := newDisk(t)
	s := Open(d.at)
	run := ofRun(t, audit.Head{}, 2, true)
	if err := errors.Join(s.Write(Metadata{Identity: identity, Agent: "first"}), s.KeepAudit(identity, strings.NewReader(run)), s.AddLayer(identity, "layer:1")); err != nil {
		t.Fatal(err)
	}
	filler, err := os.Create(filepath.Join(d.at, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 1<<10); err == nil; {
		_, err = filler.Write(block)
	}
	if err := filler.Close(); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 8<<10)
	for name, err := range map[string]error{
		"record": s.Write(Metadata{Identity: identity, Agent: long}), "layers": s.KeepLayers(identity, []string{long}),
		"log":        s.KeepAudit(identity, strings.NewReader(ofRun(t, audit.Head{}, 100, true))),
		"transcript": s.KeepTranscript(Metadata{Identity: identity, StartedAt: time.Now()}, func(w io.Writer) error { _, err := io.WriteString(w, long); return err }),
	} {
		if !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if m, err := s.Read(identity); err != nil || m.Agent != "first" {
		t.Errorf("the record: got %.20q, %v", m.Agent, err)
	}
	if got := readLog(t, s); got != run {
		t.Errorf("the log: got %s", got)
	}
	if layers, err := s.Layers(identity); len(layers) != 1 || layers[0] != "layer:1" || err != nil {
		t.Errorf("the layers: got %.20q, %v", layers, err)
	}
	if entries, err := os.ReadDir(s.Dir(identity)); err != nil || len(entries) != 3 {
		t.Errorf("got %v, %v", entries, err)
	}
}

func readLog(t *testing.T, s Store) string {
	t.Helper()
	log, err := s.AuditLog(identity)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(log)
	if err := errors.Join(err, log.Close()); err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func transcripts(t *testing.T, s Store) string {
	t.Helper()
	var shown strings.Builder
	for _, path := range s.Transcripts(identity) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		shown.Write(data)
	}
	return shown.String()
}
