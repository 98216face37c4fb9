package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/test/lab"
	"github.com/bot-bottle/bot-bottle/test/need"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// talker is an agent that answers what is typed, in a bottle that extends another.
func (h house) talker(bottle string) {
	h.t.Helper()
	dockerfile := "USER root\nRUN printf '#!/bin/sh\\necho what now\\nwhile read -r line; do echo \"you said $line\"; done\\nexec sleep infinity\\n' > /usr/local/bin/claude && chmod 755 /usr/local/bin/claude\n"
	for name, content := range map[string]string{
		"talker/Dockerfile": dockerfile,
		"bottles/talker.md": "---\nextends: " + bottle + "\nagent_provider: {dockerfile: " + filepath.Join(h.Home, "talker", "Dockerfile") + "}\n---\n",
		"agents/talker.md":  "---\nbottle: talker\ngit_identity: {name: Committer, email: committer@acme.example}\n---\n",
	} {
		if err := h.Write(name, content); err != nil {
			h.t.Fatal(err)
		}
	}
}

// begin starts an agent from the dashboard, and returns its identity.
func (h gitHouse) begin(x *mux, agent string, known ...string) string {
	h.t.Helper()
	x.keys("%0", "1", "n")
	choice := regexp.MustCompile(`(\w) ` + agent + ` `).FindStringSubmatch(x.wait("%0", "Which?", agent))
	x.keys("%0", choice[1])
	x.wait("%0", "With what in its workspace?")
	x.keys("%0", "Enter")
	x.wait("%0", "Start it?", agent)
	x.keys("%0", "y")
	for {
		for _, identity := range regexp.MustCompile(agent+`-[a-z2-7]{6}`).FindAllString(x.wait("%0", "services ", agent+"-"), -1) {
			if !strings.Contains(strings.Join(known, " "), identity) {
				h.removeAtEnd(identity)
				return identity
			}
		}
	}
}

// The dashboard in a real tmux, on real bottles: two agents are started, one asks, what it asks
// for is edited, granted for ten minutes and seen to pass; the other's push is held, read and
// approved; one is attached to, left, and both are stopped.
func TestDashboard(t *testing.T) {
	t.Parallel()
	h := openGit(t, standin.Options{}, `refs: ["refs/heads/agent/**"], mode: hold`)
	h.talker("git")
	_, port, _ := net.SplitHostPort(h.Standin.Address)
	edited, err := json.Marshal([]policy.Route{{Host: "docs.example", Methods: []string{"POST"}, Paths: []string{"/echo"}, Address: gatewayName() + ":" + port, Private: true, CA: h.Standin.CA}})
	if err == nil {
		err = h.Write("edited.json", string(edited))
	}
	if err != nil {
		t.Fatal(err)
	}
	x := h.mux([]string{fmt.Sprintf("EDITOR=cp '%s/edited.json'", h.Home)}, "dashboard")
	x.wait("%0", "no bottle runs", "n new")
	asker := h.begin(x, "talker")
	pusher := h.begin(x, "talker", asker)

	h.grantOnBoard(x, asker)
	h.pushOnBoard(x, pusher)
	h.attachFromBoard(x, asker, pusher)

	// A second dashboard shows the same, and both are closed without harm.
	x.call("split-window", "-t", "%0", "-l", "16", h.Binary, "dashboard")
	second := x.awaitPanes(2)[1]
	x.wait(second, asker, pusher)
	x.keys(second, "q")
	x.awaitPanes(1)

	x.keys("%0", "Escape")
	x.wait("%0", asker, pusher)
	for range 2 {
		x.keys("%0", "g", "s")
		x.wait("%0", "▶ Stop it?")
		x.keys("%0", "y")
		x.gone("%0", "▶ Stop it?")
		x.wait("%0", "exited")
	}
	x.gone("%0", "Agents 1")
	x.keys("%0", "q")
	h.run(0, "", "list")
	if r := h.run(0, "", "logs", asker, "--verify"); !strings.Contains(r.Stdout, "whole") {
		t.Errorf("the log: %s", r.Stdout)
	}
}

// grantOnBoard has an agent ask. It is shown first, edited, shown again, granted for ten minutes,
// and seen to pass.
func (h gitHouse) grantOnBoard(x *mux, asker string) {
	h.t.Helper()
	id := h.asked(h.tool(asker, "request_egress", `{"host":"docs.example","methods":["POST"],"paths":["/echo"],"why":"The manual \u001b[2Jis there."}`))
	x.wait("%0", "▲ 1 waits for you", "waits for you")
	x.keys("%0", "2")
	x.wait("%0", id, "wants      + https://docs.example:443 POST /echo", "agent    ┃ “The manual", "risk")
	x.keys("%0", "e")
	x.wait("%0", "edited     by the operator", "may be at a private address")
	x.keys("%0", "a")
	x.wait("%0", "━━ approve "+id, "▶ Grant it to "+asker, "t for 10 minutes")
	x.keys("%0", "t")
	x.wait("%0", "granted    10m; used 0 times", "nothing waits")
	h.inside(asker, "curl -sS -m 60 -d passes=yes https://docs.example/echo")
	x.wait("%0", "granted    10m; used 1 time")
	x.keys("%0", "3")
	x.wait("%0", "docs.example/echo", "by grant "+id)
}

// pushOnBoard has an agent push. The push is held, its diff is read, it is approved and goes.
func (h gitHouse) pushOnBoard(x *mux, pusher string) {
	h.t.Helper()
	out := h.run(1, "", "exec", pusher, "--", "sh", "-c", "cd /workspace && git clone -q "+h.ssh.URL(gatewayName(), h.upstream)+" widget && cd widget && git checkout -q -b agent/fix && echo held-content > hi && git add hi && git commit -q -m 'say hi' && git push origin agent/fix").Stderr
	if !strings.Contains(out, "NOT PUSHED YET") {
		h.t.Fatalf("it is not held: %s", out)
	}
	x.wait("%0", "4 Git 1", "▲ 1 waits for you")
	x.keys("%0", "4")
	x.wait("%0", "held", "agent/fix", "┃", "“say hi” by “Committer <committer@acme.example>”")
	x.keys("%0", "d")
	x.wait("%0", "┃ +held-content")
	x.keys("%0", "a")
	x.wait("%0", "▶ Push exactly this")
	if h.theirs("refs/heads/agent/fix") != "" {
		h.t.Error("it was pushed before the answer")
	}
	x.keys("%0", "y")
	x.keys("%0", "Escape")
	x.wait("%0", "result     forwarded")
	if h.theirs("refs/heads/agent/fix") == "" {
		h.t.Error("what was approved is not upstream")
	}
}

// attachFromBoard opens terminals beside the dashboard: they answer, and are left. The second takes
// the pane of the first.
func (h gitHouse) attachFromBoard(x *mux, asker, pusher string) {
	h.t.Helper()
	x.keys("%0", "1")
	x.wait("%0", asker, pusher, "enter attach")
	x.choose(asker, pusher)
	x.keys("%0", "Enter")
	side := x.awaitPanes(2)[1]
	x.typed(side, "hello")
	x.keys(side, "Enter")
	x.wait(side, "you said hello")
	x.choose(pusher, asker)
	x.keys("%0", "Enter")
	x.gone(side, "you said hello")
	x.typed(side, "again")
	x.keys(side, "Enter")
	x.wait(side, "you said again")
	x.keys(side, "C-p", "C-q")
	x.awaitPanes(1)
	h.run(0, "", "exec", asker, "--", "true")
	h.run(0, "", "exec", pusher, "--", "true")
}

// choose has the board show one agent alone, whichever order their states put them in.
func (x *mux) choose(agent, other string) {
	x.t.Helper()
	if !strings.Contains(x.shown("%0"), agent) { // another search is on
		x.keys("%0", "Escape")
		x.wait("%0", agent, other)
	}
	x.keys("%0", "/")
	x.typed("%0", agent)
	x.keys("%0", "Enter")
	x.wait("%0", agent)
	x.gone("%0", other)
	time.Sleep(time.Second) // whoever presses a key just as the selection moves is asked to look first
}

// Outside tmux a terminal takes the dashboard's place until it is left, and ctrl-c in it is
// the agent's. However the dashboard ends, the terminal is as it was.
func TestDashboardGivesTheTerminalAway(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	h.talker("dev")
	if r := h.run(2, "", "dashboard"); !strings.Contains(r.Stderr, "needs a terminal") {
		t.Errorf("got %s", r.Stderr)
	}
	identity := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "--rm", "talker").Stdout)
	h.removeAtEnd(identity)
	s := h.terminal("dashboard")
	s.wait(identity)
	s.send("\r")
	s.waitRaw("\x1b[?1049l") // the terminal is the agent's now
	s.send("zwz\n")
	s.wait("you said zwz")
	s.send("\x10\x11")
	s.wait("attach " + identity + ": done")
	s.send("q")
	if code := s.end(); code != 0 {
		t.Errorf("got status %d", code)
	}
	s.cooked()
	s = h.terminal("dashboard")
	s.wait(identity)
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := s.end(); code != 0 {
		t.Errorf("asked to end: got status %d", code)
	}
	s.cooked()
	h.run(0, "", "exec", identity, "--", "true")
}

// Inside tmux each terminal gets a pane or a window of its own, if the operator wants that. Closed,
// the dashboard takes none of them along.
func TestDashboardOpensWhereItIsTold(t *testing.T) {
	t.Parallel()
	for where, windows := range map[string]int{"split": 1, "window": 3} {
		t.Run(where, func(t *testing.T) {
			h := open(t, standin.Options{})
			h.talker("dev")
			identity := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "--rm", "talker").Stdout)
			h.removeAtEnd(identity)
			x := h.mux(nil, "dashboard", "--open", where)
			x.wait("%0", identity, "enter attach")
			for opened := range 2 {
				x.keys("%0", "Enter")
				x.awaitPanes(opened + 2)
			}
			if got := strings.Fields(x.call("list-windows", "-F", "#{window_id}")); len(got) != windows {
				t.Errorf("there are windows %v, not %d", got, windows)
			}
			x.keys("%0", "q")
			for _, pane := range x.awaitPanes(2) {
				x.wait(pane, "what now")
			}
		})
	}
}

// An engine that hangs, or is out of reach, breaks no connection. What is on the screen is then
// said to be old, until it answers again; and the dashboard can be left, also before it has
// anything to show.
func TestDashboardOfAnEngineThatHangs(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	identity := h.idle()
	engine := &valve{}
	far := h.at("DOCKER_HOST=unix://" + engine.serve(t))
	s := far.terminal("dashboard")
	s.wait(identity)
	engine.shut(func() {
		s.wait("✗ stale")
		s.forget()
	})
	s.wait("nothing waits")
	s.send("q")
	if code := s.end(); code != 0 {
		t.Errorf("left: got status %d", code)
	}
	for _, shown := range []string{"", identity} {
		s := far.terminal("dashboard")
		s.wait(shown)
		engine.shut(func() {
			s.send("q")
			begun := time.Now()
			if code := s.end(); code != 0 || time.Since(begun) > 30*time.Second {
				t.Errorf("after %q: got status %d after %s", shown, code, time.Since(begun))
			}
		})
		s.cooked()
	}
}

// valve is a way to the engine that can be shut: nothing passes then, and nothing breaks.
type valve struct{ sync.RWMutex }

// shut does something while nothing passes.
func (v *valve) shut(do func()) {
	v.Lock()
	defer v.Unlock()
	do()
}

// serve carries connections to the engine, and returns the socket that it does so for.
func (v *valve) serve(t *testing.T) string {
	t.Helper()
	engine, ok := strings.CutPrefix(lab.Endpoint(), "unix://")
	if !ok {
		need.Lacking(t, need.Dockerd, "the engine is not behind a socket here")
	}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	all.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("unix", engine)
			if err != nil {
				_ = near.Close()
				continue
			}
			all.Go(func() { v.carry(far, near) })
			all.Go(func() { v.carry(near, far) })
		}
	})
	return socket
}

// carry ends both connections with the one that it reads from.
func (v *valve) carry(to, from net.Conn) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		v.RLock()
		_, lost := to.Write(buffer[:n])
		v.RUnlock()
		if err != nil || lost != nil {
			return
		}
	}
}
