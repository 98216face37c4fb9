package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/prove/githttp"
	"github.com/bot-bottle/bot-bottle/internal/sidecar/gitgate"
	"github.com/bot-bottle/bot-bottle/test/lab"
)

// gitRounds is how often each side takes its turn.
const gitRounds = 5

// measureGit compares the gate, in front of an https upstream, with a plain git http-backend
// on the same repositories.
func measureGit(ctx context.Context, l *lab.Lab) (_ []figure, err error) {
	dir := filepath.Join(l.Home, "git")
	work := filepath.Join(dir, "work")
	if err := writeHistory(ctx, work, 1000, 50_000_000); err != nil {
		return nil, err
	}
	pushes, err := measurePush(ctx, l, dir, work)
	if err != nil {
		return nil, err
	}
	steps, err := measureSteps(ctx, dir, work)
	if err != nil {
		return nil, err
	}
	overSSH, err := measureSSH(ctx, l, dir, work)
	if err != nil {
		return nil, err
	}
	clones, err := measureClone(ctx, l, dir, work)
	return slices.Concat(pushes, steps, overSSH, clones), err
}

// gateway is a gate with its upstream and the plain server beside it.
type gateway struct {
	plain, gate string // URLs of the repository
	upstream    string // its directory
	direct      string
	events      *lastEvents
	closers     []func()
}

// openGate makes two bare copies of main: one behind a gate, one behind a plain server.
func openGate(ctx context.Context, l *lab.Lab, dir, work string) (_ *gateway, err error) {
	g := &gateway{upstream: filepath.Join(dir, "upstream.git"), direct: filepath.Join(dir, "direct.git"), events: &lastEvents{}}
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	for _, bare := range []string{g.upstream, g.direct} {
		if _, err := runGit(ctx, "/", nil, "clone", "-q", "--bare", "--no-local", "--single-branch", "-b", "main", work, bare); err != nil {
			return nil, err
		}
	}
	plain, err := githttp.Start(githttp.Options{Listen: "127.0.0.1:0", Root: dir, Plain: true})
	if err != nil {
		return nil, err
	}
	g.closers = append(g.closers, plain.Close)
	secure, err := githttp.Start(githttp.Options{Listen: "127.0.0.1:0", Root: dir, User: "bench", Password: "a-token-of-the-bench"})
	if err != nil {
		return nil, err
	}
	g.closers = append(g.closers, secure.Close)
	g.plain = plain.URL("127.0.0.1", "direct.git")
	return g, g.start(l, dir, control.GitRepository{
		Name: "widget", Upstream: secure.URL("localhost", "upstream.git"), Places: []string{"widget"}, User: "bench", Password: "a-token-of-the-bench", CA: secure.CA,
		Push: policy.Push{Refs: []string{"refs/heads/agent/**"}},
	})
}

func (g *gateway) start(l *lab.Lab, dir string, r control.GitRepository) error {
	config := control.GitConfig{Bottle: "bench-abcdef", Name: "Bench", Email: "bench@acme.example", Repositories: []control.GitRepository{r}}
	for i := range 10 {
		config.Known = append(config.Known, control.Secret{Name: fmt.Sprint("KNOWN", i), Value: "tok_" + rand.Text(), Placeholder: "placeholder_" + rand.Text()})
	}
	server, err := gitgate.New(config, gitgate.Options{
		Dir: filepath.Join(dir, "gate"), Keys: filepath.Join(dir, "keys"), Self: l.Binary, Events: audit.NewWriter(g.events), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.Serve(ctx, listener) }()
	g.closers = append(g.closers, func() { cancel(); <-ended })
	g.gate = "http://" + listener.Addr().String() + "/widget.git"
	return nil
}

func (g *gateway) close() {
	for _, c := range slices.Backward(g.closers) {
		c()
	}
}

// lastEvents keeps what the gate records.
type lastEvents struct {
	mu    sync.Mutex
	lines [][]byte
}

func (e *lastEvents) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lines = append(e.lines, bytes.Clone(p))
	return len(p), nil
}

// last is the last event of a kind.
func (e *lastEvents) last(kind string) (found audit.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, line := range slices.Backward(e.lines) {
		if json.Unmarshal(line, &found) == nil && found.Kind == kind {
			return found
		}
	}
	return audit.Event{}
}

// measurePush pushes a thousand commits, to fresh repositories each round.
func measurePush(ctx context.Context, l *lab.Lab, dir, work string) ([]figure, error) {
	var ratios, floors, plains, gates, receives, scans, forwards, noops []float64
	for i := range gitRounds {
		round := filepath.Join(dir, fmt.Sprint("push", i))
		if err := pushRound(ctx, l, round, work, func(plain, gate time.Duration, e audit.Event) {
			plains, gates, ratios = append(plains, plain.Seconds()), append(gates, gate.Seconds()), append(ratios, gate.Seconds()/plain.Seconds())
			receive := (e.Millis - e.Check - e.Forward) / 1000
			receives, scans, forwards = append(receives, receive), append(scans, e.Check/1000), append(forwards, e.Forward/1000)
			floors = append(floors, (receive+e.Forward/1000)/plain.Seconds())
		}, func(noop time.Duration) { noops = append(noops, float64(noop.Microseconds())/1000) }); err != nil {
			return nil, err
		}
	}
	return []figure{
		atMost("git.push_ratio", middle(ratios), "×", 1.5), report("git.push_plain_s", middle(plains), "s"), report("git.push_gate_s", middle(gates), "s"),
		report("git.push_unchecked_ratio", middle(floors), "×"), report("git.push_receive_s", middle(receives), "s"), report("git.push_forward_s", middle(forwards), "s"),
		atMost("git.push_check_s", middle(scans), "s", 2), atMost("git.noop_fetch_added_ms", middle(noops), "ms", 30),
	}, nil
}

func pushRound(ctx context.Context, l *lab.Lab, dir, work string, pushed func(plain, gate time.Duration, e audit.Event), fetched func(time.Duration)) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	g, err := openGate(ctx, l, dir, work)
	if err != nil {
		return err
	}
	defer g.close()
	if _, err := runGit(ctx, work, nil, "ls-remote", g.gate); err != nil { // until the mirror is there
		return err
	}
	plain, err := timed(func() error { _, err := runGit(ctx, work, nil, "push", "-q", g.plain, "agent/work"); return err })
	if err != nil {
		return err
	}
	gate, err := timed(func() error { _, err := runGit(ctx, work, nil, "push", "-q", g.gate, "agent/work"); return err })
	if err != nil {
		return err
	}
	e := g.events.last(audit.Push)
	if have, err := runGit(ctx, g.upstream, nil, "rev-parse", "agent/work"); err != nil || e.Decision != audit.Allow || !strings.Contains(fmt.Sprint(e.Updates), have) {
		return fmt.Errorf("the push did not arrive: %v", err)
	}
	pushed(plain, gate, e)
	for range 5 {
		direct, err := timed(func() error { _, err := runGit(ctx, work, nil, "fetch", "-q", g.plain, "main"); return err })
		if err != nil {
			return err
		}
		through, err := timed(func() error { _, err := runGit(ctx, work, nil, "fetch", "-q", g.gate, "main"); return err })
		if err != nil {
			return err
		}
		fetched(through - direct)
	}
	return nil
}

// measureClone clones a repository of 200 MB.
func measureClone(ctx context.Context, l *lab.Lab, dir, work string) (_ []figure, err error) {
	if err := addNoise(ctx, work, 200<<20); err != nil {
		return nil, err
	}
	round := filepath.Join(dir, "clone")
	if err := os.MkdirAll(round, 0o700); err != nil {
		return nil, err
	}
	g, err := openGate(ctx, l, round, work)
	if err != nil {
		return nil, err
	}
	defer g.close()
	target := filepath.Join(dir, "target")
	clone := func(url string) (time.Duration, error) {
		took, err := timed(func() error { _, err := runGit(ctx, dir, nil, "clone", "-q", "--bare", url, target); return err })
		return took, errors.Join(err, os.RemoveAll(target))
	}
	first, err := clone(g.gate)
	if err != nil {
		return nil, err
	}
	var ratios []float64
	for range gitRounds {
		plain, err := clone(g.plain)
		if err != nil {
			return nil, err
		}
		gate, err := clone(g.gate)
		if err != nil {
			return nil, err
		}
		ratios = append(ratios, gate.Seconds()/plain.Seconds())
	}
	return []figure{atMost("git.clone_ratio", middle(ratios), "×", 1.2), report("git.first_clone_s", first.Seconds(), "s")}, nil
}

func timed(f func() error) (time.Duration, error) {
	start := time.Now()
	err := f()
	return time.Since(start), err
}
