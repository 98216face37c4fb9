package smolmachines

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// waiting launches a bottle whose agent waits for its input, and lets go of it.
func (h house) waiting() *Bottle {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.home, "b", "agents", "a.md"), []byte("---\nbottle: dev\nargs: ["+control.Binary+", sidecar, bundle]\n---\nx\n"), 0o600); err != nil {
		h.t.Fatal(err)
	}
	spec := h.spec()
	spec.TTY, spec.Detached = true, true
	plan, err := bottle.Use(h.Driver).Prepare(h.t.Context(), spec)
	if err != nil {
		h.t.Fatal(err)
	}
	b, err := plan.Launch(h.t.Context(), nil)
	if err == nil {
		err = b.Detach()
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return b.(*Bottle)
}

// crash is what a laptop that dies leaves of a bottle: a machine's disk, and a record without an end.
func (h house) crash(b *Bottle) {
	h.t.Helper()
	pid, err := listenerOf(filepath.Join(b.dir, controlSocket))
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err := errors.Join(err, h.stop(h.t.Context(), b.machine)); err != nil {
		h.t.Fatal(err)
	}
}

func (h house) remove(b *Bottle) {
	h.t.Helper()
	if err := bottle.Use(h.Driver).Remove(context.WithoutCancel(h.t.Context()), b.Name()); err != nil {
		h.t.Error(err)
	}
	h.nothingLeft("removed")
}

// A machine that is started to be read from, after a crash, has no agent, as one whose start was
// interrupted has none. Who reads is killed: a cleanup leaves the disk, with the work on it.
func TestAMachineThatWasReadKeepsItsDisk(t *testing.T) {
	h := open(t)
	b := h.waiting()
	h.crash(b)
	m, _, err := h.find(t.Context(), b.Name())
	if err != nil {
		t.Fatal(err)
	}
	stop, err := h.startAlone(t.Context(), m, b.Name())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(h.State.Dir(b.Name()), "lock")); err != nil { // as if its holder was dead
		t.Fatal(err)
	}
	plan, err := h.PrepareCleanup(t.Context(), bottle.CleanupOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stops := false
	for _, task := range plan.All {
		stops = stops || task.Kind == bottle.LeftMachine && task.Do == bottle.StopIt
		if task.Kind != bottle.LeftBundle && task.Do == "" {
			t.Errorf("it would remove %s %s: %s", task.Kind, task.Name, task.Why)
		}
	}
	if !stops {
		t.Errorf("the machine is not stopped: %+v", plan.All)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	h.remove(b)
}

// A bottle that came to life after a cleanup has looked, and before that cleanup got to it, is left
// alone: nobody holds a detached one's lock.
func TestCleanupLooksAgainUnderTheLock(t *testing.T) {
	h := open(t)
	b := h.waiting()
	task := func(kind bottle.LeftoverKind, name string, do bottle.Action) bottle.Task {
		return bottle.Task{Leftover: bottle.Leftover{Kind: kind, Name: name, Identity: b.Name()}, Do: do}
	}
	told := 0
	if err := h.Cleanup(t.Context(), bottle.Tasks{All: []bottle.Task{
		task(bottle.LeftMachine, b.machine, ""), task(bottle.LeftBundle, b.dir, ""), task(bottle.LeftState, b.Name(), bottle.CloseIt),
	}}, func(l bottle.Leftover, err error) {
		if told++; !errors.Is(err, bottle.ErrCameToLife) {
			t.Errorf("%s %s: got %v", l.Kind, l.Name, err)
		}
	}); err != nil {
		t.Error(err)
	}
	if active, err := h.Active(t.Context()); told != 3 || err != nil || len(active) != 1 || active[0].Status != bottle.Running {
		t.Errorf("%d things were told of; got %+v, %v", told, active, err)
	}
	h.crash(b)
	h.remove(b)
}

// The log of what an agent did outlives its machine, also where a crash came before its record was
// closed.
func TestALogOutlivesItsMachine(t *testing.T) {
	h := open(t)
	h.guard("null")
	b := h.waiting()
	if got := ask(t, b.dir, "hello"); got != "from upstream" {
		t.Fatalf("got %s", got)
	}
	for deadline := time.Now().Add(time.Minute); !h.State.Acted(b.Name()); time.Sleep(time.Millisecond) { // it is on its way from egress to the log
		if time.Now().After(deadline) {
			t.Fatal("the log has no request")
		}
	}
	h.crash(b)
	if err := h.delete(t.Context(), b.machine); err != nil {
		t.Fatal(err)
	}
	plan, err := h.PrepareCleanup(t.Context(), bottle.CleanupOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Cleanup(t.Context(), plan, func(l bottle.Leftover, err error) {
		if err != nil {
			t.Errorf("%s %s: %v", l.Kind, l.Name, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if m, err := h.State.Read(b.Name()); err != nil || m.EndedAt == nil {
		t.Errorf("got %+v, %v", m, err)
	}
	h.remove(b)
}

// A machine that does not run is not spoken to: smolvm makes other disks for one that was never
// started.
func TestNothingIsAskedOfAMachineThatDoesNotRun(t *testing.T) {
	h := open(t)
	b := h.waiting()
	h.crash(b)
	calls := filepath.Join(h.data, "calls.jsonl")
	if err := os.Remove(calls); err != nil {
		t.Fatal(err)
	}
	if err := h.keepEnd(t.Context(), bottle.Task{Leftover: bottle.Leftover{Kind: bottle.LeftMachine, Name: b.machine, Identity: b.Name()}}); err != nil {
		t.Error(err)
	}
	before, err := h.State.Read(b.Name())
	if err != nil {
		t.Fatal(err)
	}
	var p Plan
	p.Identity, p.Dir = b.Name(), b.dir
	if err := h.closeBefore(t.Context(), p, &before); err != nil {
		t.Error(err)
	}
	if said, err := os.ReadFile(calls); err != nil || strings.Contains(string(said), `"exec"`) {
		t.Errorf("got %s, %v", said, err)
	}
	h.remove(b)
}

// Who looks for a run's mark while it is written sees the one before: half a one would be that of a
// bottle whose agent was never seen to run.
func TestAMarkIsWhole(t *testing.T) {
	dir := t.TempDir()
	if err := writeMark(dir, mark{Services: everyService()}); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() {
		var err error
		for range 300 {
			err = errors.Join(err, writeMark(dir, mark{Services: everyService()}))
		}
		written <- err
	}()
	for {
		select {
		case err := <-written:
			if err != nil {
				t.Error(err)
			}
			return
		default:
		}
		if _, ok := readMark(dir); !ok {
			t.Error("half a mark was seen")
			<-written
			return
		}
	}
}

// What a killed start has left of an archive, up to twice an image's size, goes with the next that
// is made; what another start is at work on stays.
func TestHalfAnArchiveIsTidiedAway(t *testing.T) {
	h := open(t)
	if err := os.MkdirAll(h.archives(), 0o700); err != nil {
		t.Fatal(err)
	}
	left, busy := filepath.Join(h.archives(), ".tmp-1"), filepath.Join(h.archives(), ".tmp-2")
	for file, age := range map[string]time.Duration{left: 2 * time.Hour, busy: 0} {
		at := time.Now().Add(-age)
		if err := errors.Join(os.WriteFile(file, []byte("x"), 0o600), os.Chtimes(file, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	b, err := h.launch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.Close(), bottle.Use(h.Driver).Remove(t.Context(), b.Name())); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was left: %v", err)
	}
	if _, err := os.Stat(busy); err != nil {
		t.Error(err)
	}
}

// A guest that does not hand its transcript out, or not all of it, costs the bottle that and nothing
// else: it is stopped, cleaned up and resumed, soon, and what is lost is said.
func TestNoTranscriptHoldsABottleUp(t *testing.T) {
	ends := map[string]func(house, *Bottle) error{
		"stop": func(h house, b *Bottle) error {
			found, err := h.Open(h.t.Context(), b.Name())
			if err == nil {
				err = found.Close()
			}
			return err
		},
		"cleanup": func(h house, b *Bottle) error {
			pid, err := listenerOf(filepath.Join(b.dir, controlSocket))
			if err == nil {
				err = syscall.Kill(pid, syscall.SIGKILL)
			}
			h.endAgentOf(b)
			h.clean()
			return err
		},
		"resume": func(h house, b *Bottle) error {
			h.endAgentOf(b)
			spec := h.spec()
			spec.Identity, spec.Resume, spec.TTY, spec.Detached = b.Name(), true, true, true
			plan, err := bottle.Use(h.Driver).Prepare(h.t.Context(), spec)
			if err != nil {
				return err
			}
			again, err := plan.Launch(h.t.Context(), nil)
			if err != nil {
				return err
			}
			h.faults(nil)
			return again.Close()
		},
	}
	for end, do := range ends {
		for fault, why := range map[string]string{"hang": "has sent nothing", "lost": "connection to VM lost"} {
			t.Run(end+" "+fault, func(t *testing.T) {
				t.Parallel()
				h := open(t)
				var told bytes.Buffer
				h.Log = slog.New(slog.NewTextHandler(&told, nil))
				b := h.waiting()
				h.faults(map[string]string{"guest transcript": fault})
				began := time.Now()
				if err := do(h, b); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took > time.Minute {
					t.Errorf("it took %s", took)
				}
				if !strings.Contains(told.String(), "transcript") || !strings.Contains(told.String(), why) {
					t.Errorf("it was told %q", told.String())
				}
				if m, _, err := h.find(t.Context(), b.Name()); err != nil || m.up() {
					t.Errorf("got %+v, %v", m, err)
				}
				if r, err := h.State.Read(b.Name()); err != nil || r.EndedAt == nil {
					t.Errorf("got %+v, %v", r, err)
				}
				h.faults(nil)
				h.remove(b)
			})
		}
	}
}

// endAgentOf ends a bottle's agent, whose machine stays up.
func (h house) endAgentOf(b *Bottle) {
	h.t.Helper()
	b.endAgent(h.t.Context())
	if now, err := h.condition(h.t.Context(), b.machine); err != nil || !now.Ended {
		h.t.Fatalf("got %+v, %v", now, err)
	}
}

// Format 1 did not count runs. A bottle that is resumed is not on its first one: a crash before its
// agent runs leaves the disk, with the work on it.
func TestWhatIsResumedIsNotOnItsFirstRun(t *testing.T) {
	d := Driver{Now: time.Now}
	var p Plan
	p.Resume = true
	if got := d.metadata(p, control.Log{}, state.Metadata{}).Runs; got < 2 {
		t.Errorf("it is on run %d", got)
	}
	p.Resume = false
	if got := d.metadata(p, control.Log{}, state.Metadata{}).Runs; got != 1 {
		t.Errorf("a new one is on run %d", got)
	}
}

// A bottle without a directory of sockets has no mark, whatever lies where bot-bottle is run.
func TestTheDirectoryAtHandIsNoBottles(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := writeMark(".", mark{}); err != nil {
		t.Fatal(err)
	}
	control, err := net.Listen("unix", controlSocket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = control.Close() }()
	if _, begun := readMark(""); begun || bundleLives("") {
		t.Errorf("begun: %t, lives: %t", begun, bundleLives(""))
	}
	now := time.Now()
	c := census{
		records:  map[string]record{"a-aaaaaa": {Metadata: state.Metadata{Runs: 1, StartedAt: now}}},
		machines: map[string]machine{"a-aaaaaa": {State: created}},
	}
	if !c.halfMade("a-aaaaaa") {
		t.Error("an interrupted start is not seen")
	}
}

// A cleanup of what nothing is recorded of leaves no directory of its lock behind, also where it could
// not look again.
func TestCleanupLeavesNoDirectoryOfItsOwn(t *testing.T) {
	h := open(t)
	b := h.waiting()
	h.crash(b)
	if err := h.State.Remove(b.Name()); err != nil {
		t.Fatal(err)
	}
	plan, err := h.PrepareCleanup(t.Context(), bottle.CleanupOptions{})
	if err != nil {
		t.Fatal(err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	_ = h.Cleanup(canceled, plan, func(bottle.Leftover, error) {})
	if left, err := h.State.Identities(); err != nil || len(left) > 0 {
		t.Errorf("not looked again: %q, %v", left, err)
	}
	if tasks := h.clean(); len(tasks) != 2 {
		t.Errorf("got %+v", tasks)
	}
	if left, err := h.State.Identities(); err != nil || len(left) > 0 {
		t.Errorf("looked again: %q, %v", left, err)
	}
	h.remove(b)
}

// again resumes a bottle, and lets go of it.
func (h house) again(b *Bottle) *Bottle {
	h.t.Helper()
	spec := h.spec()
	spec.Identity, spec.Resume, spec.TTY, spec.Detached = b.Name(), true, true, true
	plan, err := bottle.Use(h.Driver).Prepare(h.t.Context(), spec)
	if err != nil {
		h.t.Fatal(err)
	}
	resumed, err := plan.Launch(h.t.Context(), nil)
	if err == nil {
		err = resumed.Detach()
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return resumed.(*Bottle)
}

// Who looked at a bottle closes it when its agent has ended. When he gets to that, somebody may have
// stopped and resumed it, or removed it: another run is none of his business, and of what is gone
// nothing is made again.
func TestAViewerThatIsLateLeavesTheNextRunAlone(t *testing.T) {
	h := open(t)
	b := h.waiting()
	found := func() bottle.Bottle {
		t.Helper()
		late, err := h.Open(t.Context(), b.Name())
		if err != nil {
			t.Fatal(err)
		}
		return late
	}
	late := found()
	if err := found().Close(); err != nil {
		t.Fatal(err)
	}
	h.again(b)
	if err := late.Close(); err != nil {
		t.Error(err)
	}
	if active, err := h.Active(t.Context()); err != nil || len(active) != 1 || active[0].Status != bottle.Running {
		t.Fatalf("the next run was ended: %+v, %v", active, err)
	}
	late = found()
	if err := found().Close(); err != nil {
		t.Fatal(err)
	}
	h.remove(b)
	if err := os.MkdirAll(filepath.Join(h.State.Dir(b.Name()), "lock"), 0o700); err != nil { // nobody can lock it
		t.Fatal(err)
	}
	if err := late.Close(); err != nil {
		t.Errorf("of a bottle that was removed: %v", err)
	}
}

// A bottle whose machine could not be stopped is stopped again, and its transcript copied again. If that
// breaks off, what was kept before stays.
func TestATranscriptThatBreaksOffReplacesNoWholeOne(t *testing.T) {
	h := open(t)
	var told bytes.Buffer
	h.Log = slog.New(slog.NewTextHandler(&told, nil))
	if err := os.WriteFile(filepath.Join(h.home, "b", "agents", "a.md"), []byte("---\nbottle: dev\nargs: ["+control.Binary+", completion, bash]\n---\nx\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	spec := h.spec()
	spec.TTY = true
	plan, err := bottle.Use(h.Driver).Prepare(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	launched, err := plan.Launch(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	b := launched.(*Bottle)
	in, keys := io.Pipe()
	defer func() { _ = keys.Close() }()
	if code, err := b.Agent(t.Context(), bottle.IO{Stdin: in, Stdout: io.Discard, TTY: true}); code != 0 || err != nil {
		t.Fatalf("got %d, %v", code, err)
	}
	h.faults(map[string]string{"stop": "broken"})
	if err := b.Close(); err == nil {
		t.Fatal("its machine was stopped")
	}
	kept := func() string {
		t.Helper()
		all := h.State.Transcripts(b.Name())
		if len(all) != 1 {
			t.Fatalf("got %v", all)
		}
		data, err := os.ReadFile(all[0])
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	whole := kept()
	h.faults(map[string]string{"guest transcript": "short"})
	h.clean()
	if now := kept(); now != whole || len(whole) < 9<<10 {
		t.Errorf("of %d bytes, %d are left", len(whole), len(now))
	}
	if !strings.Contains(told.String(), "connection to VM lost") {
		t.Errorf("it was told %q", told.String())
	}
	h.faults(nil)
	h.remove(b)
}

// A machine keeps the image, the processors and the memory that it was made with: the preflight of a
// resume says so, and tells of no change that does not come.
func TestAResumeSaysWhatItsMachineKeeps(t *testing.T) {
	h := open(t)
	b := h.waiting()
	found, err := h.Open(t.Context(), b.Name())
	if err != nil {
		t.Fatal(err)
	}
	if err := found.Close(); err != nil {
		t.Fatal(err)
	}
	preflight := func() string {
		t.Helper()
		spec := h.spec()
		spec.Identity, spec.Resume = b.Name(), true
		plan, err := bottle.Use(h.Driver).Prepare(t.Context(), spec)
		var said strings.Builder
		if err == nil {
			err = plan.WriteSummary(&said)
		}
		if err != nil {
			t.Fatal(err)
		}
		return said.String()
	}
	if said := preflight(); strings.Contains(said, "keeps what it was made with") || strings.Contains(said, "since its last run") {
		t.Errorf("nothing has changed, and it says %s", said)
	}
	other := filepath.Join(h.home, "other.tar")
	if err := errors.Join(
		os.WriteFile(other, smallImage(t), 0o600),
		os.WriteFile(filepath.Join(h.home, "b", "bottles", "dev.md"), []byte("---\nagent_provider: {template: custom, archive: "+other+"}\nresources: {cpus: 7, memory: 3GiB}\nsecrets: {KEY: {env: KEY}}\n---\n"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	said := preflight()
	if want := "which keeps what it was made with: not the manifest's image " + other + ", cpus 7, memory 3072 MiB (a new bottle has them)"; !strings.Contains(said, want) {
		t.Errorf("it does not say %q: %s", want, said)
	}
	for _, lie := range []string{"+ image", "+ limits", "- image", "- limits"} {
		if strings.Contains(said, lie) {
			t.Errorf("it says %q: %s", lie, said)
		}
	}
	h.remove(b)
}

// Who closes a bottle that somebody else has locked waits for him. If it is resumed before he has seen
// that it was taken down, the next run is left alone, also by who has run out of patience. If it is still there,
// since it was only looked at, he takes it down himself.
func TestWhoWaitsForAHolderLeavesTheNextRunAlone(t *testing.T) {
	for _, resumed := range []bool{true, false} {
		h := open(t)
		b := h.waiting()
		late, err := h.Open(t.Context(), b.Name())
		if err != nil {
			t.Fatal(err)
		}
		release, err := h.State.Lock(b.Name())
		if err != nil {
			t.Fatal(err)
		}
		closed := make(chan error, 1)
		go func() { closed <- late.Close() }()
		h.called(`"guest","talk","end"`) // it is locked, and waited for
		if resumed {
			m, err := h.State.Read(b.Name())
			m.StartedAt = m.StartedAt.Add(time.Second)
			if err := errors.Join(err, h.State.Write(m)); err != nil {
				t.Fatal(err)
			}
		} else {
			release()
		}
		if err := <-closed; err != nil {
			t.Errorf("resumed %t: %v", resumed, err)
		}
		m, there, err := h.find(t.Context(), b.Name())
		record, readErr := h.State.Read(b.Name())
		if err := errors.Join(err, readErr); err != nil || !there || m.up() != resumed || (record.EndedAt == nil) != resumed {
			t.Errorf("resumed %t: its machine is %s, and its end %v, %v", resumed, m.State, record.EndedAt, err)
		}
		if resumed {
			release()
		}
		h.remove(b)
	}
}
