package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/requests"
	"github.com/bot-bottle/bot-bottle/test/faults"
	"github.com/bot-bottle/bot-bottle/test/lab"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

var (
	schedules = flag.Int("chaos", 24, "how many schedules of failures to try")
	firstSeed = flag.Uint64("chaos.seed", 1, "seed of the first; the others follow")
)

// chaos is a house in which things die, one schedule after the other.
type chaos struct {
	house
	direct    house // whose calls of the engine do not fail
	proxy     *faults.Proxy
	bystander string      // "" if there is none
	engine    interface { // that may be killed; nil: it is everybody's
		kill()
		start()
	}
	small    bool // its home is a small file system of its own
	agents   []string
	agent    string            // of this schedule's bottle
	asked    map[string]string // of an agent that may ask, what became of its requests, by host; else nil
	upstream *gitHouse         // of agents that push; nil: there are none
	pushed   *outgoing         // of an agent that pushes; else nil
	trips    int               // how often it sent something while things died
	dice     *rand.Rand
	said     []string // what was done, for whoever has to find out why
}

func (c *chaos) say(format string, args ...any) {
	c.said = append(c.said, fmt.Sprintf(format, args...))
}

func (c *chaos) fail(format string, args ...any) {
	c.t.Helper()
	c.t.Errorf("%s\n  after: %s", fmt.Sprintf(format, args...), strings.Join(c.said, "; "))
}

// Invariants 1 to 4, 6 and 7 (DESIGN §11): whatever dies, and whenever, afterwards nothing runs
// unguarded, list tells the truth, cleanup finds exactly what is left, resume works with what
// was there, what was decided stays decided, no acknowledged event is missing from the log, what came to
// an upstream was checked and is in it, and no
// secret is on disk. Each schedule is one seed: -chaos.seed=N -chaos=1 repeats it; make chaos runs
// hundreds.
func TestAttackJ5_Chaos(t *testing.T) {
	dockerOnly(t, "its schedules kill and pause containers, and make calls of the engine fail")
	t.Parallel()
	const workers = 3
	for worker := range workers {
		t.Run(fmt.Sprint(worker), func(t *testing.T) {
			t.Parallel()
			h := open(t, standin.Options{})
			h.run(0, "", "list") // the owner
			small := os.Geteuid() == 0
			if small {
				h = h.tiny(t, 16<<10)
			}
			socket := strings.TrimPrefix(lab.Endpoint(), "unix://")
			proxy, err := faults.Start(t.TempDir(), socket)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = proxy.Close() })
			bystander := h.idle()
			h.asker()
			h.guarded()
			upstream := h.committers()
			for n := worker; n < *schedules && t.Context().Err() == nil; n += workers {
				seed := *firstSeed + uint64(n)
				c := &chaos{house: h.at("DOCKER_HOST=" + proxy.Host), direct: h, proxy: proxy, bystander: bystander, small: small, upstream: upstream, dice: rand.New(rand.NewPCG(seed, 1))}
				c.agents = []string{"sleeper", "asker", "committer", "holder", "guarded"}
				c.say("seed %d", seed)
				c.schedule()
			}
		})
	}
}

// asker is a sleeper that may ask: its bundle has one service more.
func (h house) asker() {
	h.t.Helper()
	if err := errors.Join(h.Write("bottles/asker.md", "---\nextends: sleeper\nsupervise: true\n---\n"), h.Write("agents/asker.md", "---\nbottle: asker\n---\n")); err != nil {
		h.t.Fatal(err)
	}
}

// guarded is a sleeper with pipelock before it.
func (h house) guarded() {
	h.t.Helper()
	program, _ := pipelockProgram(h.t)
	if err := errors.Join(h.Write("bottles/guarded.md", "---\nextends: sleeper\npipelock: {binary: "+program+"}\n---\n"), h.Write("agents/guarded.md", "---\nbottle: guarded\n---\n")); err != nil {
		h.t.Fatal(err)
	}
}

// schedule runs one bottle into one or two failures and looks at what is left.
func (c *chaos) schedule() {
	c.agent = c.agents[c.dice.IntN(len(c.agents))]
	identity := c.bring()
	acknowledged := 0
	if identity != "" {
		c.must("mark", "exec", identity, "--", "sh", "-c", "echo precious > /workspace/mark")
		acknowledged = c.requests(identity)
		c.decide(identity)
		c.clone(identity)
	}
	for range 1 + c.dice.IntN(2) {
		if identity != "" && c.pushed != nil {
			c.pushing(identity)
			continue
		}
		stop := c.traffic(identity)
		c.strike(identity)
		stop()
	}
	if c.engine != nil {
		c.restart()
	}
	c.settled()
	c.unguarded(identity)
	c.truth()
	if identity != "" && c.dice.IntN(2) == 0 {
		c.say("resumed as it was left")
		c.resumed(identity, acknowledged)
	}
	c.swept()
	if identity != "" {
		c.resumed(identity, acknowledged)
	}
	c.noSecret()
	for id := range c.listed() {
		if id != c.bystander {
			c.must("remove", "rm", "--force", id)
		}
	}
	c.truth()
	c.t.Log(c.agent, "survived:", strings.Join(c.said, "; "))
}

// bring starts a bottle that stays, or strikes while it starts: then there is none to count
// on.
func (c *chaos) bring() string {
	if c.dice.IntN(3) > 0 {
		r := c.must("start", "start", "-y", "--detach", c.agent)
		return strings.TrimSpace(r.Stdout)
	}
	args := []string{"start", "-y", "--detach", c.agent}
	if c.dice.IntN(2) == 0 {
		args = append(args, "--rm")
	}
	if c.dice.IntN(2) == 0 {
		mode, after := faults.Modes()[c.dice.IntN(4)], c.dice.IntN(24)
		c.proxy.Fail(after, mode)
		r := c.run0(args...)
		c.say("start with call %d (%s) %s: status %d", after, c.proxy.Fired(), mode, r.Code)
		return ""
	}
	c.killed(args...)
	return ""
}

// killed runs a verb and kills it at some instant.
func (c *chaos) killed(args ...string) {
	command := c.Command(context.WithoutCancel(c.t.Context()), args...)
	if err := command.Start(); err != nil {
		c.t.Fatal(err)
	}
	after := time.Duration(c.dice.IntN(900)) * time.Millisecond
	time.Sleep(after)
	_ = command.Process.Kill()
	_ = command.Wait()
	c.say("%s killed after %s", args[0], after)
}

// run0 runs a verb that may fail.
func (c *chaos) run0(args ...string) lab.Result {
	c.t.Helper()
	r, err := c.Run(c.t.Context(), nil, args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

// must runs a verb that may not fail, without failures of the engine.
func (c *chaos) must(what string, args ...string) lab.Result {
	c.t.Helper()
	c.proxy.Fail(1<<30, faults.Refuse)
	r := c.run0(args...)
	if r.Code != 0 {
		c.fail("%s: %v: status %d: %s", what, args, r.Code, r.Stderr)
	}
	return r
}

// strike lets something fail.
func (c *chaos) strike(identity string) {
	if identity == "" {
		c.verb("cleanup", "-y")
		return
	}
	agent, bundle := "bot-bottle-"+identity+"-agent", "bot-bottle-"+identity+"-sidecar"
	if c.agent == "guarded" && c.dice.IntN(2) == 0 {
		c.strikePipelock("bot-bottle-" + identity + "-pipelock")
		return
	}
	switch c.dice.IntN(12) {
	case 0:
		c.kill(agent)
	case 1:
		c.kill(bundle)
	case 2, 3:
		c.killProcess(bundle)
	case 11:
		c.killProcess(agent)
	case 4:
		c.pause(agent)
	case 5:
		c.pause(bundle)
	case 6:
		c.verb("stop", identity)
	case 7:
		c.verb("cleanup", "-y")
	case 8:
		c.verb("resume", "-y", "--detach", identity)
	case 9:
		c.fullDisk("stop", identity)
	case 10:
		c.fullDisk("resume", "-y", "--detach", identity)
	}
}

// strikePipelock lets a bottle's pipelock die, or hang for a while.
func (c *chaos) strikePipelock(container string) {
	switch c.dice.IntN(3) {
	case 0:
		c.kill(container)
	case 1:
		c.killProcess(container)
	case 2:
		c.pause(container)
	}
}

// fullDisk runs a verb without room on the operator's disk.
func (c *chaos) fullDisk(args ...string) {
	if !c.small {
		return
	}
	room := c.fill()
	r := c.run0(args...)
	room()
	c.say("%s with a full disk: status %d", args[0], r.Code)
}

// restart kills the engine, maybe in the middle of a verb, and starts it again.
func (c *chaos) restart() {
	verbs := [][]string{nil, {"start", "-y", "--detach", "sleeper"}, {"cleanup", "-y"}}
	for identity := range c.listed() {
		verbs = append(verbs, []string{"stop", identity}, []string{"resume", "-y", "--detach", identity})
	}
	args := verbs[c.dice.IntN(len(verbs))]
	c.proxy.Fail(1<<30, faults.Refuse)
	ended := make(chan error, 1)
	if args == nil {
		ended <- nil
	} else {
		command := c.Command(context.WithoutCancel(c.t.Context()), args...)
		if err := command.Start(); err != nil {
			c.t.Fatal(err)
		}
		go func() { ended <- command.Wait() }()
		time.Sleep(time.Duration(c.dice.IntN(600)) * time.Millisecond)
	}
	c.engine.kill()
	c.say("engine killed in %v: %v", args, <-ended)
	c.engine.start()
}

// verb runs one that is killed on the way, or whose engine fails.
func (c *chaos) verb(args ...string) {
	if c.dice.IntN(2) == 0 {
		c.killed(args...)
		return
	}
	mode, after := faults.Modes()[c.dice.IntN(4)], c.dice.IntN(12)
	c.proxy.Fail(after, mode)
	r := c.run0(args...)
	c.say("%s with call %d (%s) %s: status %d", args[0], after, c.proxy.Fired(), mode, r.Code)
}

func (c *chaos) kill(container string) {
	_, err := c.Engine.ContainerKill(c.t.Context(), container, client.ContainerKillOptions{Signal: "SIGKILL"})
	c.say("kill %s: %v", container, err)
}

// killProcess kills one of a bundle, a service or the parent, or of an agent's container: the guest,
// what holds its terminal, or the agent. Whose first process it is, ends: what comes next finds it so.
func (c *chaos) killProcess(container string) {
	top, err := c.Engine.ContainerTop(c.t.Context(), container, client.ContainerTopOptions{})
	if err != nil || len(top.Processes) == 0 {
		c.say("no process to kill: %v", err)
		return
	}
	victim := top.Processes[c.dice.IntN(len(top.Processes))]
	pid, err := strconv.Atoi(victim[1])
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	c.say("kill %s: %v", victim[len(victim)-1], err)
	found, inspected := c.Engine.ContainerInspect(c.t.Context(), container, client.ContainerInspectOptions{})
	if err != nil || inspected != nil || found.Container.State == nil || found.Container.State.Pid != pid {
		return
	}
	ended := c.Engine.ContainerWait(c.t.Context(), container, client.ContainerWaitOptions{Condition: "not-running"})
	select {
	case <-ended.Result:
	case <-ended.Error: // it has gone already
	}
}

// pause suspends a container, and lets it go on after a while in which list is asked.
func (c *chaos) pause(container string) {
	_, err := c.Engine.ContainerPause(c.t.Context(), container, client.ContainerPauseOptions{})
	c.say("pause %s: %v", container, err)
	if err != nil {
		return
	}
	c.truth()
	if _, err := c.Engine.ContainerUnpause(c.t.Context(), container, client.ContainerUnpauseOptions{}); err != nil {
		c.fail("unpause: %v", err)
	}
}

// settled waits until the engine has ended what it began for those that are gone.
func (c *chaos) settled() {
	c.proxy.Fail(1<<30, faults.Refuse)
	c.settle()
}

// requests makes requests that egress refuses, and returns how many were answered.
func (c *chaos) requests(identity string) (answered int) {
	c.t.Helper()
	for n := range 3 {
		r := c.run0("exec", identity, "--", "curl", "-sk", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}", fmt.Sprintf("https://api.anthropic.com/denied-%d/%s", n, strings.Repeat("x", 3)))
		if r.Code == 0 && r.Stdout != "000" {
			answered++
		}
	}
	if answered != 3 {
		c.fail("only %d requests were answered", answered)
	}
	return answered
}

// decide has an agent that may ask do so: one request waits, one is granted for an hour, one is rejected.
func (c *chaos) decide(identity string) {
	c.t.Helper()
	if c.asked = nil; c.agent == "sleeper" || c.agent == "guarded" {
		return
	}
	c.asked = map[string]string{}
	for _, host := range []string{"waits.example", "hour.example", "never.example"} {
		c.asked[host] = c.house.asked(c.tool(identity, "request_egress", `{"host":"`+host+`","methods":["GET"],"why":"x"}`))
	}
	c.must("approve", "approve", c.asked["hour.example"], "-y", "--for", "1h")
	c.must("reject", "reject", c.asked["never.example"])
}

// decided looks for what became of the requests in a bottle that was resumed.
func (c *chaos) decided(identity string) {
	c.t.Helper()
	if c.asked == nil {
		return
	}
	var waiting []requests.Shown
	r := c.must("requests", "requests", "--json")
	err := json.Unmarshal([]byte(r.Stdout), &waiting)
	waiting = slices.DeleteFunc(waiting, func(s requests.Shown) bool { return s.Kind == requests.Pushing })
	if err != nil || len(waiting) != 1 || waiting[0].ID != c.asked["waits.example"] {
		c.fail("of the requests %v there wait %s, %v", c.asked, r.Stdout, err)
	}
	got := c.must("what is granted", "exec", identity, "--", "sh", "-c", "getent hosts hour.example waits.example never.example; true").Stdout
	if !strings.Contains(got, "hour.example") || strings.Contains(got, "waits") || strings.Contains(got, "never") {
		c.fail("what is granted: %q", got)
	}
}

// unguarded tries to get out of a bottle whose bundle, a service, or pipelock may be dead: to a server of
// this host's by its address, and to an upstream that its policy allows, which must not hear of it
// where nobody could have put it on record.
func (c *chaos) unguarded(identity string) {
	if identity == "" || !c.state("bot-bottle-"+identity+"-agent") {
		return
	}
	bundle := c.state("bot-bottle-" + identity + "-sidecar")
	guarded := bundle && (c.agent != "guarded" || c.state("bot-bottle-"+identity+"-pipelock"))
	before := len(c.Standin.Requests())
	r := c.run0("exec", identity, "--", "sh", "-c", "ls /sys/class/net; curl -sk --noproxy '*' -m 2 -o /dev/null -w '%{http_code} ' https://"+c.Standin.Address+"/unguarded; curl -sk -m 2 -o /dev/null -w '%{http_code}' https://"+standin.Host+"/unguarded; true")
	if r.Code != 0 {
		return // it has just ended
	}
	seen := strings.Fields(r.Stdout)
	if len(seen) != 3 || seen[0] != "lo" || seen[1] != "000" {
		c.fail("the bottle has a network: %q", r.Stdout)
	}
	if heard := len(c.Standin.Requests()) - before; !guarded && heard != 0 || !bundle && seen[len(seen)-1] != "000" {
		c.fail("without its bundle, or pipelock, the bottle got %q, and %d requests out", r.Stdout, heard)
	}
}

// state reports whether a container runs.
func (c *chaos) state(name string) bool {
	found, err := c.Engine.ContainerInspect(c.t.Context(), name, client.ContainerInspectOptions{})
	return err == nil && found.Container.State != nil && found.Container.State.Running
}

// listed is what list all says, by identity.
func (c *chaos) listed() map[string]string {
	c.t.Helper()
	var all []struct{ Identity, State string }
	r := c.must("list", "list", "all", "--json")
	if err := json.Unmarshal([]byte(r.Stdout), &all); err != nil {
		c.fail("list: %v: %s", err, r.Stdout)
	}
	states := map[string]string{}
	for _, l := range all {
		states[l.Identity] = l.State
	}
	return states
}

// truth compares what list says with the engine.
func (c *chaos) truth() {
	c.t.Helper()
	for identity, said := range c.listed() {
		if runs := c.state("bot-bottle-" + identity + "-agent"); runs != (said == "running") && said != "busy" {
			c.fail("list says that %s is %s; that it runs is %t", identity, said, runs)
		}
	}
}

// swept cleans up. What runs and who stands by are not touched; a second time finds nothing.
func (c *chaos) swept() {
	c.t.Helper()
	var running []string
	for identity, said := range c.listed() {
		if said == "running" {
			running = append(running, identity)
		}
	}
	c.must("cleanup", "cleanup", "-y")
	if r := c.must("cleanup again", "cleanup", "-y"); !strings.Contains(r.Stderr, "nothing to clean up") {
		c.fail("a second cleanup found: %s", r.Stderr)
	}
	for _, identity := range running {
		if !c.state("bot-bottle-" + identity + "-agent") {
			c.fail("cleanup ended %s, which ran", identity)
		}
	}
	if c.bystander != "" {
		if r := c.must("bystander", "exec", c.bystander, "--", "echo", "alive"); r.Stdout != "alive\n" {
			c.fail("the bystander was touched: %s", r.Stderr)
		}
	}
	left, err := c.Left(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	known := c.listed()
	for _, what := range left {
		name := strings.TrimPrefix(strings.TrimPrefix(strings.Fields(what)[1], "/"), "bot-bottle-")
		at := max(0, strings.LastIndex(name, "-"))
		switch said, ok := known[name[:at]]; {
		case !ok:
			c.fail("%s is of no bottle on record", what)
		case said != "running" && !slices.Contains([]string{"-home", "-workspace", "-git"}, name[at:]): // what a bottle comes back to
			c.fail("a cleanup left %s of a bottle that is %s", what, said)
		}
	}
	for identity, said := range known {
		if said != "running" && said != "ended" && said != "removed" {
			c.fail("after a cleanup %s is %s", identity, said)
		}
	}
}

// resumed goes on with the bottle: what it had is there, and its log is whole and has every
// event that was acknowledged.
func (c *chaos) resumed(identity string, acknowledged int) {
	c.t.Helper()
	if c.state("bot-bottle-" + identity + "-agent") {
		c.must("stop", "stop", identity)
	}
	if c.pushed != nil && c.dice.IntN(2) == 0 {
		c.theirTruth()
		c.undone()
	}
	c.must("resume", "resume", "-y", "--detach", identity)
	if r := c.must("what it had", "exec", identity, "--", "cat", "/workspace/mark"); r.Stdout != "precious\n" {
		c.fail("the workspace has %q", r.Stdout)
	}
	c.decided(identity)
	if c.pushed != nil {
		c.pushesOn(identity)
	}
	c.must("stop", "stop", identity)
	c.must("verify", "logs", identity, "--verify")
	r := c.must("logs", "logs", identity, "--json")
	if lines := strings.Split(strings.TrimSpace(r.Stdout), "\n"); !strings.Contains(lines[len(lines)-1], `"event":"agent-end"`) {
		c.fail("the log does not tell how the agent ended: %s", r.Stdout)
	}
	if got := strings.Count(r.Stdout, `"path":"/denied-`); got < acknowledged {
		c.fail("%d events were acknowledged, %d are in the log", acknowledged, got)
	}
	c.sentOnRecord(identity, r.Stdout)
	if c.pushed != nil {
		c.onRecord(r.Stdout)
	}
}

// noSecret searches what is on the operator's disk for the real key.
func (c *chaos) noSecret() {
	c.t.Helper()
	err := filepath.WalkDir(filepath.Join(c.Home, "state"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // it may just have gone
		}
		data, err := os.ReadFile(path)
		if err == nil && bytes.Contains(data, []byte(c.Key)) {
			c.fail("%s holds the real key", path)
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
}
