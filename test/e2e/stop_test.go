package e2e

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/state"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// exited starts a bottle that nobody holds, whose agent is then killed: its bundle lives on.
func (h house) exited(args ...string) string {
	h.t.Helper()
	h.sleeper()
	identity := strings.TrimSpace(h.run(0, "", append([]string{"start", "-y", "--detach", "sleeper"}, args...)...).Stdout)
	h.t.Cleanup(func() { _, _ = h.Run(context.Background(), nil, "rm", "--force", identity) })
	h.run(0, "", "exec", identity, "--", "sh", "-c", "echo precious > /workspace/mark; curl -sk -m 9 -o /dev/null https://elsewhere.example/; true")
	h.killAgent(identity)
	return identity
}

// killAgent ends a bottle's agent and nothing else of it: its container, or in a machine its process.
func (h house) killAgent(identity string) {
	h.t.Helper()
	if h.on == smolvm {
		h.run(0, "", "exec", identity, "--", "pkill", "-KILL", "-x", "sleep")
		for late := time.Now().Add(30 * time.Second); strings.Contains(h.run(0, "", "list").Stdout, identity); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(late) {
				h.t.Fatal("the agent does not end")
			}
		}
		return
	}
	agent := "bot-bottle-" + identity + "-agent"
	ended := h.Engine.ContainerWait(h.t.Context(), agent, client.ContainerWaitOptions{Condition: "not-running"})
	if _, err := h.Engine.ContainerKill(h.t.Context(), agent, client.ContainerKillOptions{Signal: "SIGKILL"}); err != nil {
		h.t.Fatal(err)
	}
	select {
	case <-ended.Result:
	case err := <-ended.Error:
		h.t.Fatal(err)
	}
}

// onlyWork fails the test unless all that is there of a bottle is its work: two volumes, or a
// machine that does not run.
func (h house) onlyWork() {
	h.t.Helper()
	left, err := h.Left(h.t.Context())
	want := 2
	if h.on == smolvm {
		left, want = append(left, h.leftOfMachines()...), 1
	}
	if err != nil || len(left) != want {
		h.t.Errorf("left: %v, %v", left, err)
	}
	for _, name := range h.machines() {
		if h.machinePID(strings.TrimPrefix(name, "bb-")) != 0 {
			h.t.Errorf("%s runs", name)
		}
	}
}

// A bottle whose agent has ended by itself while nobody held it has a bundle still, with
// credentials in it: stop takes down what is left, says so, and keeps the work. Its log tells
// how and when the agent ended, as its last line.
func TestStopTakesDownWhatIsLeft(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	identity := h.exited()
	if r := h.run(0, "", "stop", identity); r.Stdout != identity+"\n" || !strings.Contains(r.Stderr, identity+" did not run any more: its agent had ended with status 137; what was left of it is taken down") {
		t.Errorf("got %q %s", r.Stdout, r.Stderr)
	}
	h.onlyWork()
	h.run(0, "", "logs", identity, "--verify")
	log := h.run(0, "", "logs", identity, "--json").Stdout
	last := log[strings.LastIndex(strings.TrimSpace(log), "\n")+1:]
	if !strings.Contains(log, "elsewhere.example") || !strings.Contains(last, `"service":"agent","event":"agent-end"`) || !strings.Contains(last, `"exit":137`) || !strings.Contains(last, "while no process held it") {
		t.Errorf("the last line is %s", last)
	}
	if r := h.run(0, "", "logs", identity, "--service", "agent"); !strings.Contains(r.Stdout, "the agent ended with status 137: it ended, or was killed, while no process held it") {
		t.Errorf("got %s", r.Stdout)
	}
	if r := h.run(2, "", "stop", identity); !strings.Contains(r.Stderr, identity+" has ended, with status 137") || !strings.Contains(r.Stderr, "resume") {
		t.Errorf("a second stop says %s", r.Stderr)
	}
	if r := h.run(0, "", "cleanup", "-y"); !strings.Contains(r.Stderr, "nothing to clean up") {
		t.Errorf("cleanup found: %s", r.Stderr)
	}
	h.run(0, "", "resume", "-y", "--detach", identity)
	if r := h.run(0, "", "exec", identity, "--", "cat", "/workspace/mark"); r.Stdout != "precious\n" {
		t.Errorf("got %q", r.Stdout)
	}
	h.run(0, "", "stop", identity)
	if r := h.run(0, "", "logs", identity, "--json"); strings.Count(r.Stdout, `"event":"agent-end"`) != 2 || !strings.Contains(r.Stdout, `"reason":"it was stopped"`) {
		t.Errorf("got %s", r.Stdout)
	}
	h.run(0, "", "logs", identity, "--verify")
}

// A resume of such a bottle tells the log how its last run ended, before it begins another.
func TestResumeTellsHowTheLastRunEnded(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	identity := h.exited()
	h.run(0, "", "resume", "-y", "--detach", identity)
	log := h.run(0, "", "logs", identity, "--json").Stdout
	end, begin := strings.Index(log, `"event":"agent-end"`), strings.LastIndex(log, `"event":"begin"`)
	if end < 0 || end > begin || !strings.Contains(log, `"exit":137`) {
		t.Errorf("got %s", log)
	}
	h.run(0, "", "logs", identity, "--verify")
	h.run(0, "", "stop", identity)
	h.run(0, "", "logs", identity, "--verify")
}

// What a bottle did stays on record, also of one that was to be removed at its end and whose
// end nobody saw: cleanup, and stop, take the rest and keep the log.
func TestTheLogOfAKilledBottleStays(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	for _, verb := range []string{"cleanup", "stop"} {
		identity := h.exited("--rm")
		if verb == "cleanup" {
			h.run(0, "", "cleanup", "-y")
		} else {
			h.run(0, "", "stop", identity)
		}
		if left, err := h.Left(t.Context()); err != nil || len(left) > 0 {
			t.Errorf("%s left %v, %v", verb, left, err)
		}
		if r := h.run(0, "", "logs", identity, "--json"); !strings.Contains(r.Stdout, "elsewhere.example") || !strings.Contains(r.Stdout, `"exit":137`) {
			t.Errorf("after %s the log is %s", verb, r.Stdout)
		}
		h.run(0, "", "logs", identity, "--verify")
		if r := h.run(0, "", "list", "all", "--json"); !strings.Contains(r.Stdout, `"state": "removed"`) {
			t.Errorf("got %s", r.Stdout)
		}
		if r := h.run(0, "", "cleanup", "-y"); !strings.Contains(r.Stderr, "nothing to clean up") {
			t.Errorf("cleanup found: %s", r.Stderr)
		}
		h.run(0, "", "rm", "--force", identity)
		if _, err := os.Stat(h.Home + "/state/" + identity); err == nil {
			t.Error("it is still on record")
		}
	}
}

// lockedUntilItEnds has the lock of a bottle until its agent has been ended: by then whoever stops it
// waits for the lock. Then it does what a holder may do, and lets go.
func (h house) lockedUntilItEnds(identity string, then func(state.Store)) {
	h.t.Helper()
	store := state.Open(h.Home)
	release, err := store.Lock(identity)
	if err != nil {
		h.t.Fatal(err)
	}
	ended := h.Engine.ContainerWait(h.t.Context(), "bot-bottle-"+identity+"-agent", client.ContainerWaitOptions{Condition: "not-running"})
	go func() {
		select {
		case <-ended.Result:
		case <-ended.Error:
		}
		then(store)
		release()
	}()
}

// Who has the lock of a running bottle need not be its holder: a cleanup has it for as long as it
// looks. stop takes the bottle down all the same, once it is free.
func TestStopBesideWhoOnlyLooks(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	identity := h.idle()
	h.lockedUntilItEnds(identity, func(state.Store) {})
	h.run(0, "", "stop", identity)
	if left, err := h.Left(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if m, err := state.Open(h.Home).Read(identity); err != nil || m.EndedAt == nil {
		t.Errorf("got %+v, %v", m, err)
	}
}

// A bottle that its holder has taken down may be resumed before who waits for that has seen it: the next
// run is left alone.
func TestStopBesideAStopAndAResume(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	identity := h.idle()
	h.removeAtEnd(identity)
	h.lockedUntilItEnds(identity, func(s state.Store) { // what is there stands for the next run
		m, err := s.Read(identity)
		m.StartedAt = m.StartedAt.Add(time.Second)
		if err := errors.Join(err, s.Write(m)); err != nil {
			t.Error(err)
		}
	})
	h.run(0, "", "stop", identity)
	if _, err := h.Engine.ContainerInspect(t.Context(), "bot-bottle-"+identity+"-sidecar", client.ContainerInspectOptions{}); err != nil {
		t.Errorf("the next run was taken down: %v", err)
	}
}

// Who looks at an agent that is stopped takes its bottle down as well, if nobody has. One that is suspended
// meanwhile, and goes on when the bottle was resumed, leaves the next run alone.
func TestAViewerThatIsLateLeavesTheNextRunAlone(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	h.ticker()
	d := h.desk()
	identity := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "ticker").Stdout)
	h.removeAtEnd(identity)
	d.window("late", "attach", identity)
	d.sees("late", "tick-tock")
	viewer := d.inWindow("late")
	if err := syscall.Kill(viewer, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	h.run(0, "", "stop", identity)
	h.run(0, "", "resume", "-y", "--detach", identity)
	if err := syscall.Kill(viewer, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if status := d.ended("late"); status != "143" {
		t.Errorf("it ended with status %s:\n%s", status, d.shot("late"))
	}
	if r := h.run(0, "", "list", "--json"); !strings.Contains(r.Stdout, identity) || !strings.Contains(r.Stdout, `"status": "running"`) {
		t.Errorf("the next run was ended: %s", r.Stdout)
	}
}
