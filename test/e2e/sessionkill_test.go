package e2e

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/test/standin"
)

var (
	killings      = flag.Int("kill", 0, "how many schedules of kill -9 to try; 0: on docker each end twice, in a machine once")
	firstKillSeed = flag.Uint64("kill.seed", 1, "seed of the first; the others follow")
)

// killed is one bottle, who looks at it, and what dies of it.
type killed struct {
	desk
	dice     *rand.Rand
	identity string
	windows  int
	said     []string
}

// Whatever is killed with -9, in any order: who looks at an agent has his terminal back, the
// agent goes on unless it was that which died, and list, attach and the dashboard say what is so.
// Each schedule is one seed: -kill.seed=N -kill=1 repeats it.
func TestKill9OfEachPart(t *testing.T) {
	t.Parallel()
	const workers = 2
	schedules := *killings
	switch {
	case schedules > 0:
	case chosen() == smolvm:
		schedules = len((&killed{}).onMachine())
	default:
		schedules = 2 * len((&killed{}).onEngine())
	}
	for worker := range workers {
		t.Run(fmt.Sprint(worker), func(t *testing.T) {
			t.Parallel()
			h := open(t, standin.Options{})
			h.ticker()
			for n := worker; n < schedules; n += workers {
				seed := *firstKillSeed + uint64(n)
				k := &killed{desk: h.desk(), dice: rand.New(rand.NewPCG(seed, 9))}
				k.say("seed %d", seed)
				k.schedule(n)
			}
		})
	}
}

// ticker is an agent that does everything to its terminal, answers what is typed, and leaves a
// trail in its workspace for as long as it lives.
func (h house) ticker() {
	h.t.Helper()
	script := `#!/bin/sh
printf '\033[?1049h\033[?1000h\033[?1006h\033[?2004h\033[?25l\033[?1h\033=\033[2;5r\033[>1u\033]8;;https://a.example\033\\\033[1;7mtick\033[H'
echo tick-tock
n=0
while :; do n=$((n+1)); echo $n > /workspace/ticks; sleep 0.1; done &
while read -r line; do echo "you said $line"; done
`
	for name, content := range map[string]string{
		"ticker/claude":     script,
		"ticker/Dockerfile": "USER root\nCOPY claude /usr/local/bin/claude\nRUN chmod 755 /usr/local/bin/claude\n",
		"bottles/ticker.md": "---\nextends: dev\nagent_provider: {dockerfile: " + filepath.Join(h.Home, "ticker", "Dockerfile") + "}\n---\n",
		"agents/ticker.md":  "---\nbottle: ticker\n---\n",
	} {
		if err := h.Write(name, content); err != nil {
			h.t.Fatal(err)
		}
	}
}

func (k *killed) say(format string, args ...any) {
	k.said = append(k.said, fmt.Sprintf(format, args...))
}

func (k *killed) wrong(format string, args ...any) {
	k.t.Helper()
	k.t.Errorf("%s\n  after: %s", fmt.Sprintf(format, args...), strings.Join(k.said, "; "))
}

// schedule kills what the agent survives, in some order, and then what it does not.
func (k *killed) schedule(n int) {
	k.identity = strings.TrimSpace(k.run(0, "", "start", "-y", "--detach", "ticker").Stdout)
	defer func() {
		ctx := context.WithoutCancel(k.t.Context())
		_, _ = k.Run(ctx, nil, "stop", k.identity)
		_, _ = k.Run(ctx, nil, "rm", "-y", k.identity)
	}()
	first := k.attached()
	k.answers(first, "begin")
	for range 3 {
		k.survivable(first)
		k.goesOn()
		k.answers(first, fmt.Sprintf("line-%d", len(k.said)))
	}
	second := k.attached()
	fatal := k.onEngine()
	if k.on == smolvm {
		fatal = k.onMachine()
	}
	end := fatal[n%len(fatal)]()
	for _, name := range []string{first, second} {
		if status := k.ended(name); status != end.status {
			k.wrong("%s ended with status %s, want %s:\n%s", name, status, end.status, k.shot(name))
		}
		k.restored(name)
	}
	k.gone(end)
}

// fate is with what status who looks at an agent ends, what list says then, and what who comes later is
// told.
type fate struct{ status, listed, later string }

// onEngine and onMachine are what an agent does not survive. Each ends it.
func (k *killed) onEngine() []func() fate {
	return []func() fate{k.killContainer, k.killAgent, k.killBundle}
}

func (k *killed) onMachine() []func() fate {
	return []func() fate{k.killAgent, k.killBundle, k.killGuest, k.killMachine}
}

// attached opens a terminal on the agent.
func (k *killed) attached() string {
	k.windows++
	name := fmt.Sprintf("w%d", k.windows)
	k.window(name, "attach", k.identity)
	k.sees(name, "tick-tock")
	return name
}

// answers types, until the agent has answered: what is typed while a stream is lost may be lost.
func (k *killed) answers(name, word string) {
	k.t.Helper()
	typed := time.Now()
	k.keys(name, word, "Enter")
	k.until("the agent does not answer "+word+" after "+strings.Join(k.said, "; "), name, func(shot string) bool {
		if strings.Contains(shot, "you said "+word) {
			return true
		}
		if time.Since(typed) > 3*time.Second {
			typed = time.Now()
			k.keys(name, "Enter", word, "Enter")
		}
		return false
	})
}

// survivable kills something that is not the agent.
func (k *killed) survivable(first string) {
	k.t.Helper()
	switch k.dice.IntN(5) {
	case 0:
		name := k.attached()
		k.say("kill a viewer")
		k.signal(name, syscall.SIGKILL)
	case 1:
		k.say("kill the streams in the bottle")
		for _, p := range k.parts("agent") {
			if strings.Contains(p.command, "guest attach") || strings.Contains(p.command, "guest talk session") {
				_ = syscall.Kill(p.pid, syscall.SIGKILL) // it may have ended
			}
		}
	case 2:
		k.service()
	case 3:
		k.dashboard()
	case 4:
		name := k.attached()
		k.say("close a terminal")
		k.must("kill-session", "-t", name)
	}
}

// service kills one of the bundle's services: another takes its place.
func (k *killed) service() {
	k.t.Helper()
	var services []part
	for _, p := range k.parts("sidecar") {
		_, service, ok := strings.Cut(p.command, "sidecar ")
		if first, _, _ := strings.Cut(service, " "); ok && !slices.Contains([]string{"bundle", "host", "control"}, first) {
			services = append(services, p)
		}
	}
	if len(services) == 0 {
		k.t.Fatal("the bundle has no services")
	}
	one := services[k.dice.IntN(len(services))]
	k.say("kill %s", one.command)
	k.kill9(one.pid)
	const ask = "for i in $(seq 100); do test $(curl -sk -m 5 -o /dev/null -w '%{http_code}' https://api.anthropic.com/nowhere) = 000 || exit 0; sleep 0.1; done; exit 1"
	if r, err := k.Run(k.t.Context(), nil, "exec", k.identity, "--", "sh", "-c", ask); err != nil || r.Code != 0 {
		k.wrong("the bundle does not serve any more: %v, status %d", err, r.Code)
	}
}

// dashboard kills one that shows the agent: the next one shows it as well.
func (k *killed) dashboard() {
	k.t.Helper()
	k.windows++
	name := fmt.Sprintf("d%d", k.windows)
	k.window(name, "dashboard")
	k.sees(name, k.identity)
	k.say("kill a dashboard")
	k.signal(name, syscall.SIGKILL)
	k.windows++
	name = fmt.Sprintf("d%d", k.windows)
	k.window(name, "dashboard")
	k.sees(name, k.identity)
	k.sees(name, "services")
	k.keys(name, "q")
	k.ended(name)
	k.restored(name)
}

// goesOn fails the test unless the agent lives, and the verbs say so.
func (k *killed) goesOn() {
	k.t.Helper()
	const lives = "a=$(cat /workspace/ticks); for i in $(seq 100); do test \"$(cat /workspace/ticks)\" = \"$a\" || exit 0; sleep 0.1; done; exit 1"
	if r, err := k.Run(k.t.Context(), nil, "exec", k.identity, "--", "sh", "-c", lives); err != nil || r.Code != 0 {
		k.wrong("the agent does not go on: %v, %s", err, r.Stderr)
	}
	if list := k.run(0, "", "list").Stdout; !strings.Contains(list, k.identity) || strings.Contains(list, "cut off") {
		k.wrong("list says %q", list)
	}
}

// restored fails the test unless a terminal is as a program finds one, for the eye and for keys.
func (k *killed) restored(name string) {
	k.t.Helper()
	if got := k.modes(name); got != untouched {
		k.wrong("%s is left with %s", name, got)
	}
	tty := strings.TrimSpace(k.must("display-message", "-p", "-t", name, "#{pane_tty}"))
	out, err := exec.CommandContext(k.t.Context(), "stty", "-F", tty, "-a").Output()
	words := strings.Fields(strings.ReplaceAll(string(out), ";", " "))
	for _, want := range []string{"icanon", "echo", "isig", "icrnl", "opost"} {
		if err != nil || !slices.Contains(words, want) {
			k.wrong("%s is left without %s: %v", name, want, err)
		}
	}
}

// gone fails the test unless the verbs say of the agent that it does not run, and how it ended.
func (k *killed) gone(end fate) {
	k.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); strings.Contains(k.run(0, "", "list").Stdout, k.identity); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			k.wrong("list shows it still")
			return
		}
	}
	if all := k.run(0, "", "list", "all").Stdout; !strings.Contains(all, k.identity) || !strings.Contains(all, end.listed) {
		k.wrong("list all says %q, not %q", all, end.listed)
	}
	k.windows++
	name := fmt.Sprintf("late%d", k.windows)
	k.window(name, "attach", k.identity)
	if status, said := k.ended(name), strings.ReplaceAll(k.shot(name), "\n", ""); status == "0" || !strings.Contains(said, k.identity+end.later) || !strings.Contains(said, "bot-bottle resume "+k.identity) {
		k.wrong("a later attach ends with status %s:\n%s", status, k.shot(name))
	}
	k.run(0, "", "resume", "-y", "--detach", k.identity)
	if kept, err := filepath.Glob(filepath.Join(k.Home, "state", k.identity, "transcript-*.cast")); err != nil || len(kept) == 0 {
		k.wrong("nothing that it showed is kept: %v", err)
	} else if shown, err := os.ReadFile(kept[len(kept)-1]); err != nil || !strings.Contains(string(shown), "tick") {
		k.wrong("of what it showed %q is kept, %v", shown, err)
	}
	k.goesOn()
	k.answers(k.attached(), "resumed")
}

// killContainer kills PID 1 of the bottle, and the bottle with it.
func (k *killed) killContainer() fate {
	k.t.Helper()
	pid := k.first("agent")
	k.say("kill the guest")
	k.kill9(pid)
	return fate{"137", "ended with status 137", " has ended"}
}

// killGuest kills the guest in a machine, which goes on: list says so, until it is stopped. How the agent
// ended nobody knows.
func (k *killed) killGuest() fate {
	k.t.Helper()
	pid := k.first("agent")
	k.say("kill the guest")
	k.kill9(pid)
	if list := k.run(0, "", "list").Stdout; !strings.Contains(list, k.identity) || !strings.Contains(list, "does not answer") {
		k.wrong("list says %q", list)
	}
	k.run(0, "", "stop", k.identity)
	if shown := k.run(0, "", "logs", "--transcript", k.identity).Stdout; !strings.Contains(shown, "tick") {
		k.wrong("of what it showed %q is kept", shown)
	}
	return fate{"1", "not running", ": no such bottle is running"}
}

// killMachine kills the machine's own process, and all that is in it.
func (k *killed) killMachine() fate {
	k.t.Helper()
	pid := k.machinePID(k.identity)
	k.say("kill the machine")
	k.kill9(pid)
	return fate{"1", "interrupted", ": no such bottle is running"}
}

// killAgent kills what the guest runs.
func (k *killed) killAgent() fate {
	k.t.Helper()
	all := k.parts("agent")
	for _, guest := range all {
		if !strings.Contains(guest.command, "guest terminal") && !strings.Contains(guest.command, "guest machine") {
			continue
		}
		for _, p := range all {
			if p.parent == guest.pid && strings.Contains(p.command, "/claude") {
				k.say("kill the agent")
				k.kill9(p.pid)
				return fate{"137", "ended with status 137", " has ended"}
			}
		}
	}
	k.t.Fatalf("no agent runs: %v", all)
	return fate{}
}

// killBundle kills the bundle's first process, and all services with it. Nobody is there who
// would end the bottle: the agent goes on, without a way out, and list says so.
func (k *killed) killBundle() fate {
	k.t.Helper()
	pid := k.first("sidecar")
	k.say("kill the bundle")
	k.kill9(pid)
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(k.run(0, "", "list").Stdout, "cut off"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			k.wrong("list says %q", k.run(0, "", "list").Stdout)
			break
		}
	}
	k.answers("w1", "cut-off")
	want := "bot-bottle: cannot read the routes of " + k.identity + ": its sidecar bundle does not run\n" +
		"  to go on with it: bot-bottle stop " + k.identity + ", then bot-bottle resume " + k.identity + "\n"
	if told := k.run(1, "", "egress", k.identity).Stderr; told != want {
		k.wrong("egress says %q, want %q", told, want)
	}
	r, err := k.Run(k.t.Context(), nil, "exec", k.identity, "--", "curl", "-sk", "-m", "2", "-o", "/dev/null", "-w", "%{http_code}", "https://api.anthropic.com/")
	if err != nil || strings.TrimSpace(r.Stdout) != "000" {
		k.wrong("without its bundle the bottle got %q, %v", r.Stdout, err)
	}
	k.run(0, "", "stop", k.identity)
	return fate{"143", "ended with status 143", " has ended"}
}

func (k *killed) kill9(pid int) {
	k.t.Helper()
	if pid < 2 {
		k.t.Fatalf("nothing to kill: got process %d", pid)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		k.t.Fatal(err)
	}
}
