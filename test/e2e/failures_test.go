package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/test/faults"
	"github.com/bot-bottle/bot-bottle/test/lab"
	"github.com/bot-bottle/bot-bottle/test/need"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// Invariant 6: each call to the engine that a start makes fails, one after the other, in
// each way. The start says so or does without; a cleanup leaves nothing.
func TestEveryEngineCallFails(t *testing.T) {
	dockerOnly(t, "it makes calls of the engine fail")
	t.Parallel()
	h := open(t, standin.Options{})
	proxy, err := faults.Start(t.TempDir(), strings.TrimPrefix(lab.Endpoint(), "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = proxy.Close() }()
	h.sleeper()
	p := h.at("DOCKER_HOST=" + proxy.Host)
	p.run(0, "", "stop", strings.TrimSpace(p.run(0, "", "start", "-y", "--detach", "--rm", "sleeper").Stdout)) // all that is shared is there
	calls, last := 0, ""
	for after := 0; ; after++ {
		mode := faults.Modes()[after%4]
		proxy.Fail(after, mode)
		r, err := p.Run(t.Context(), nil, "start", "-y", "--detach", "--rm", "sleeper")
		if err != nil {
			t.Fatal(err)
		}
		fired := proxy.Fired()
		proxy.Fail(1<<30, mode)
		if r.Code == 0 {
			p.run(0, "", "stop", strings.TrimSpace(r.Stdout))
		} else if !strings.Contains(r.Stderr, "\nbot-bottle: cannot ") && !strings.HasPrefix(r.Stderr, "bot-bottle: ") {
			t.Errorf("%s %s: got %q", fired, mode, r.Stderr)
		}
		if fired == "" {
			break
		}
		calls, last = calls+1, fired
		p.settle()
		p.run(0, "", "cleanup", "-y")
		if left, err := h.Left(t.Context()); err != nil || len(left) > 0 {
			t.Errorf("%s %s: left %v, %v", fired, mode, left, err)
		}
	}
	if calls < 12 {
		t.Errorf("only %d calls failed, the last was %s", calls, last)
	}
}

// tiny is a home with almost no room, on a file system of its own.
func (h house) tiny(t *testing.T, kilobytes int) house {
	t.Helper()
	if os.Geteuid() != 0 {
		need.Lacking(t, need.Dockerd, "a small file system cannot be mounted without root")
	}
	home := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dk,mode=700", kilobytes), "tmpfs", home).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", home).Run() })
	if out, err := exec.Command("cp", "-a", h.Home+"/.", home).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	l := *h.Lab
	l.Home = home
	return house{&l, t, onDocker}
}

// A full disk at the start: it is said, nothing runs that is not recorded, nothing is left,
// and with room again all goes on.
func TestTheDiskIsFull(t *testing.T) {
	dockerOnly(t, "it makes calls of the engine fail")
	t.Parallel()
	h := open(t, standin.Options{})
	h.run(0, "", "list") // the owner
	h = h.tiny(t, 2048)
	h.run(0, "", "start", "-y", "--rm", "claude", "--", "-p", "hello")
	room := h.fill()
	if r := h.run(125, "", "start", "-y", "--rm", "claude", "--", "-p", "hello"); !strings.Contains(r.Stderr, "no space left on device") || !strings.Contains(r.Stderr, "make room there") {
		t.Errorf("got %s", r.Stderr)
	}
	if left, err := h.Left(t.Context()); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	h.run(0, "", "list", "all")
	room()
	h.run(0, "", "cleanup", "-y")
	h.run(0, "", "start", "-y", "--rm", "claude", "--", "-p", "hello")
}

// killedAndStopped are three bottles on a home: one that runs, one that was stopped, and one whose
// agent was killed with nobody there to see it.
func (h house) killedAndStopped() (running, stopped, killed string) {
	h.t.Helper()
	for _, identity := range []*string{&running, &stopped, &killed} {
		*identity = strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "sleeper").Stdout)
	}
	h.run(0, "", "stop", stopped)
	h.killAgent(killed)
	return running, stopped, killed
}

// told runs a verb that fails, and looks for what it has to say. Each reason is one line, and what to
// do another.
func (h house) told(code int, args []string, words ...string) {
	h.t.Helper()
	r := h.run(code, "", args...)
	for _, word := range words {
		if !strings.Contains(r.Stderr, word) {
			h.t.Errorf("%v does not say %q: %s", args, word, r.Stderr)
		}
		if strings.Count(r.Stderr, word) > 1 {
			h.t.Errorf("%v says %q more than once: %s", args, word, r.Stderr)
		}
	}
}

// A full disk where bottles run, have ended and were killed: how an agent ended is not lost to verbs
// that could not write it down, and with room again each bottle goes on.
func TestVerbsOnAFullDisk(t *testing.T) {
	dockerOnly(t, "its containers are looked at")
	t.Parallel()
	h := open(t, standin.Options{})
	h.sleeper()
	h.run(0, "", "list") // the owner
	h = h.tiny(t, 4096)
	running, stopped, killed := h.killedAndStopped()
	room := h.fill()
	full, room2 := "no space left on device", "make room there"
	h.told(125, []string{"resume", "-y", "--detach", stopped}, full, room2)
	h.told(125, []string{"resume", "-y", "--detach", killed}, full, room2)
	h.told(1, []string{"stop", running}, full, room2)
	h.told(1, []string{"stop", killed}, room2, "it stays, since something else of its bottle does") // its transcript and its log have a line each
	for _, verb := range [][]string{{"list"}, {"list", "all"}, {"logs", killed}, {"logs", killed, "--verify"}, {"cleanup", "--dry-run"}} {
		h.run(0, "", verb...)
	}
	if r := h.run(0, "", "list"); strings.Contains(r.Stdout, running) {
		t.Errorf("a bottle that was stopped runs: %s", r.Stdout)
	}
	room()
	h.run(0, "", "cleanup", "-y")
	r := h.run(0, "", "list", "all")
	for identity, want := range map[string]string{running: "ended with status 143", stopped: "ended with status 143", killed: "ended with status 137"} {
		if !strings.Contains(lineOf(r.Stdout, identity), want) {
			t.Errorf("%s: want %q, got %s", identity, want, r.Stdout)
		}
		h.run(0, "", "logs", identity, "--verify")
		h.run(0, "", "resume", "-y", "--detach", identity)
		h.run(0, "", "rm", "--force", identity)
	}
}

func lineOf(text, word string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			return line
		}
	}
	return ""
}

// A home that cannot be written to: it is said, with what to do; what only looks works, and a bottle
// that is stopped does not run any more.
func TestTheHomeIsReadOnly(t *testing.T) {
	dockerOnly(t, "its containers are looked at")
	t.Parallel()
	h := open(t, standin.Options{})
	h.sleeper()
	h.run(0, "", "list") // the owner
	h = h.tiny(t, 4096)
	h.run(0, "", "start", "-y", "--rm", "claude", "--", "-p", "hello")
	running, stopped, killed := h.killedAndStopped()
	if out, err := exec.Command("mount", "-o", "remount,ro", h.Home).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	readOnly, hint := "read-only file system", "cannot be written to"
	for code, all := range map[int][][]string{
		125: {{"start", "-y", "--rm", "claude", "--", "-p", "hello"}, {"resume", "-y", "--detach", stopped}, {"resume", "-y", "--detach", killed}},
		1:   {{"rm", "-y", stopped}, {"rm", "--force", stopped}, {"cleanup", "-y"}, {"stop", killed}, {"cp", stopped + ":x", "-"}},
	} {
		for _, args := range all {
			h.told(code, args, readOnly, hint)
		}
	}
	for _, args := range [][]string{
		{"list"}, {"list", "all"}, {"list", "agents"}, {"list", "backends"}, {"logs", running}, {"logs", killed}, {"cleanup", "--dry-run"}, {"exec", running, "--", "true"}, {"egress", running, "allow", "added.example"},
	} {
		h.run(0, "", args...)
	}
	h.told(1, []string{"stop", running}, readOnly, hint, "its agent is ended, and the rest of it stays")
	if r := h.run(0, "", "list"); strings.Contains(r.Stdout, running) {
		t.Errorf("a bottle that was stopped runs: %s", r.Stdout)
	}
	if out, err := exec.Command("mount", "-o", "remount,rw", h.Home).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	h.run(0, "", "cleanup", "-y")
	r := h.run(0, "", "list", "all")
	for identity, want := range map[string]string{running: "ended with status 143", stopped: "ended with status 143", killed: "ended with status 137"} {
		if !strings.Contains(lineOf(r.Stdout, identity), want) {
			t.Errorf("%s: want %q, got %s", identity, want, r.Stdout)
		}
		h.run(0, "", "logs", identity, "--verify")
		h.run(0, "", "resume", "-y", "--detach", identity)
		h.run(0, "", "rm", "--force", identity)
	}
}

// Two at once on one bottle, each verb beside each: neither knows of the other. Whoever cannot do its
// work says so in words of the bottle's; whoever says that it has done it, has; work is lost to nobody
// but rm, and a cleanup leaves nothing half.
func TestTwoOnOneBottle(t *testing.T) {
	dockerOnly(t, "its containers are looked at")
	t.Parallel()
	verbs := map[string]func(identity string) []string{
		"resume":  func(identity string) []string { return []string{"resume", "-y", "--detach", identity} },
		"stop":    func(identity string) []string { return []string{"stop", identity} },
		"rm":      func(identity string) []string { return []string{"rm", "-y", identity} },
		"force":   func(identity string) []string { return []string{"rm", "--force", identity} },
		"cleanup": func(string) []string { return []string{"cleanup", "-y"} },
		"old":     func(string) []string { return []string{"cleanup", "-y", "--older-than", "1ms"} },
	}
	names := slices.Sorted(maps.Keys(verbs))
	for _, before := range []string{"runs", "stopped", "killed"} {
		t.Run(before, func(t *testing.T) {
			t.Parallel()
			h := open(t, standin.Options{})
			h.sleeper()
			for i, one := range names {
				for _, two := range names[i:] {
					h.beside(before, one, two, verbs[one], verbs[two])
				}
			}
		})
	}
}

// beside runs two verbs at once on a bottle that runs, was stopped or was killed.
func (h house) beside(before, one, two string, verbs ...func(string) []string) {
	h.t.Helper()
	identity := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "sleeper").Stdout)
	h.run(0, "", "exec", identity, "--", "sh", "-c", "echo precious > /workspace/mark")
	switch before {
	case "stopped":
		h.run(0, "", "stop", identity)
	case "killed":
		h.killAgent(identity)
	}
	results := map[string]lab.Result{}
	var mu sync.Mutex
	var both sync.WaitGroup
	for i, name := range []string{one, two} {
		both.Go(func() {
			r, err := h.Run(h.t.Context(), nil, verbs[i](identity)...)
			mu.Lock()
			defer mu.Unlock()
			if other, same := results[name]; err != nil {
				h.t.Errorf("%s: %v", name, err)
			} else if !same || other.Code != 0 { // of two of a kind, the one that did it
				results[name] = r
			}
			if r.Code != 0 && !slices.ContainsFunc([]string{
				"is at work on it", "is running", "are gone", "there is no bottle", "has ended, with status", "no such bottle is running", "ends just now",
			}, func(why string) bool { return strings.Contains(r.Stderr, why) }) || strings.Contains(r.Stderr, "no such file") {
				h.t.Errorf("%s, %s beside %s: %s says %d %s", before, one, two, name, r.Code, r.Stderr)
			}
		})
	}
	both.Wait()
	did := func(name string) bool { r, ran := results[name]; return ran && r.Code == 0 }
	fail := func(format string, args ...any) {
		h.t.Helper()
		h.t.Errorf("%s, %s beside %s: %s; %+v", before, one, two, fmt.Sprintf(format, args...), results)
	}
	now := lineOf(h.run(0, "", "list", "all").Stdout, identity)
	gone := did("rm") || did("force")
	runs := strings.Contains(now, "running")
	switch {
	case gone && now != "":
		fail("rm has removed it, and it is %s", now)
	case !gone && now == "" && (!did("old") || before == "runs" && !did("stop")):
		fail("nobody has removed it, and it is gone")
	case did("stop") && !did("resume") && runs:
		fail("stop has stopped it, and it runs")
	case did("resume") && !did("stop") && !did("force") && !runs:
		fail("resume has resumed it, and it is %q", now)
	}
	h.run(0, "", "cleanup", "-y")
	if now != "" {
		if !runs {
			h.run(0, "", "resume", "-y", "--detach", identity)
		}
		if r := h.run(0, "", "exec", identity, "--", "cat", "/workspace/mark"); r.Stdout != "precious\n" {
			fail("its work is %q", r.Stdout)
		}
		h.run(0, "", "logs", identity, "--verify")
		h.run(0, "", "rm", "--force", identity)
	}
	if left, err := h.Left(h.t.Context()); err != nil || strings.Contains(fmt.Sprint(left), identity) {
		fail("left %v, %v", left, err)
	}
}

// A bottle of which somebody removed a volume cannot go on, and says what is gone and how to fetch what
// is left. Nothing makes the volume anew, so that it never goes on with an empty one.
func TestAMissingVolume(t *testing.T) {
	dockerOnly(t, "it removes volumes of the engine")
	t.Parallel()
	h := open(t, standin.Options{})
	h.sleeper()
	for _, c := range []struct{ gone, left, at string }{{"home", "workspace", "/workspace"}, {"workspace", "home", "/home/node"}} {
		identity := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "sleeper").Stdout)
		h.run(0, "", "exec", identity, "--", "sh", "-c", "echo precious > "+c.at+"/mark")
		h.run(0, "", "stop", identity)
		remove := func(r string) {
			if _, err := h.Engine.VolumeRemove(t.Context(), "bot-bottle-"+identity+"-"+r, client.VolumeRemoveOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		remove(c.gone)
		for range 2 { // nor after what is left was fetched
			h.told(2, []string{"resume", "-y", "--detach", identity}, "cannot resume "+identity+": its "+c.gone+" is gone", "begins anew", "its "+c.left+" is there still: bot-bottle cp "+identity+":"+c.at+" DIR")
			if r := h.run(0, "", "cp", identity+":"+c.at+"/mark", "-"); r.Stdout != "precious\n" {
				t.Errorf("got %+v", r)
			}
		}
		h.run(0, "", "cleanup", "-y")
		remove(c.left)
		h.told(2, []string{"resume", "-y", "--detach", identity}, "its home and workspace are gone", "begins anew")
		h.told(2, []string{"cp", identity + ":x", "-"}, "its home and workspace are gone")
		h.run(0, "", "logs", identity, "--verify")
		h.run(0, "", "rm", "-y", identity)
	}
}

// The disk fills up while a bottle runs: what cannot be recorded does not happen, the bottle
// is taken down, and with room again its log is whole.
func TestTheDiskFillsUp(t *testing.T) {
	dockerOnly(t, "it makes calls of the engine fail")
	t.Parallel()
	h := open(t, standin.Options{})
	h.run(0, "", "list") // the owner
	h.sleeper()
	h = h.tiny(t, 2048)
	c := h.Command(context.WithoutCancel(t.Context()), "start", "-y", "sleeper")
	var stderr lockedBuffer
	c.Stderr = &stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	identity := h.awaitRunning(&stderr)
	room := h.fill()
	for range 40 { // requests until one cannot be recorded, and the bottle goes
		r, err := h.Run(t.Context(), nil, "exec", identity, "--", "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do curl -sk -m 5 -o /dev/null https://api.anthropic.com/$(seq -s/ 80); done")
		if err != nil || r.Code != 0 {
			break
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	select {
	case <-ended:
	case <-time.After(2 * time.Minute):
		t.Fatal("the bottle goes on although nothing can be recorded")
	}
	if code := c.ProcessState.ExitCode(); code != 125 || !strings.Contains(stderr.String(), "no space left on device") {
		t.Errorf("got status %d: %s", code, stderr.String())
	}
	room()
	h.run(0, "", "cleanup", "-y")
	h.run(0, "", "logs", identity, "--verify")
	h.run(0, "", "rm", "--force", identity)
}

// fill leaves no room on the disk of a house; what it returns makes some.
func (h house) fill() (room func()) {
	h.t.Helper()
	path := filepath.Join(h.Home, "filler")
	f, err := os.Create(path)
	if err != nil {
		h.t.Fatal(err)
	}
	for block := make([]byte, 512); err == nil; {
		_, err = f.Write(block)
	}
	_ = f.Close()
	return func() {
		if err := os.Remove(path); err != nil {
			h.t.Fatal(err)
		}
	}
}

// The clock of this host was ahead, or behind, when a bottle was started, and is right again: the bottle
// is listed, stopped, resumed and reported of; its log is in the order in which things happened, whatever
// they are dated; and what is not known to be old is not removed for it.
func TestTheClockJumps(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	h.sleeper()
	for name, started := range map[string]string{"ahead": "2099-01-02T03:04:05Z", "behind": "1999-01-02T03:04:05Z"} {
		identity := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "sleeper").Stdout)
		h.run(0, "", "exec", identity, "--", "sh", "-c", "echo precious > /workspace/mark; curl -sk -m 9 -o /dev/null https://elsewhere.example/; true")
		h.rewrite(identity, func(record map[string]any) { record["started_at"] = started })
		h.run(0, "", "cleanup", "-y", "--older-than", "1ms")
		if r := h.run(0, "", "list"); !strings.Contains(lineOf(r.Stdout, identity), "running") {
			t.Errorf("%s: got %s", name, r.Stdout)
		}
		h.run(0, "", "stop", identity)
		h.rewrite(identity, func(record map[string]any) {
			started, _ := record["started_at"].(string)
			if ended, _ := record["ended_at"].(string); ended < started {
				t.Errorf("%s: it ended at %s, and began at %s", name, ended, started)
			}
		})
		if name == "ahead" {
			h.run(0, "", "cleanup", "-y", "--older-than", "1ms") // it has not ended yet, as far as anybody can tell
		}
		if r := h.run(0, "", "list", "all"); !strings.Contains(lineOf(r.Stdout, identity), "ended with status") {
			t.Errorf("%s: got %s", name, r.Stdout)
		}
		h.run(0, "", "resume", "-y", "--detach", identity)
		if r := h.run(0, "", "exec", identity, "--", "cat", "/workspace/mark"); r.Stdout != "precious\n" {
			t.Errorf("%s: its work is %q", name, r.Stdout)
		}
		h.run(0, "", "stop", identity)
		h.run(0, "", "logs", identity, "--verify")
		log := h.run(0, "", "logs", identity, "--json").Stdout
		if begun, asked, ended := strings.Index(log, `"event":"begin"`), strings.Index(log, "elsewhere.example"), strings.LastIndex(log, `"event":"agent-end"`); begun < 0 || asked < begun || ended < asked {
			t.Errorf("%s: the log is out of order: %s", name, log)
		}
		h.run(0, "", "report", identity, "-o", filepath.Join(h.Home, "report.html"))
		h.run(0, "", "rm", "-y", identity)
	}
}
