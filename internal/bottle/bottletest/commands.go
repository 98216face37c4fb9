package bottletest

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
)

// A command has its own standard streams and its own status, and is its user's.
func commandsAreTheirOwn(t *testing.T, h Harness) {
	b := h.launch(t, wait)
	for name, c := range map[string]struct {
		argv        []string
		user        bottle.User
		stdin       string
		code        int
		out, failed string
	}{
		"streams apart": {[]string{"sh", "-c", "cat; echo told >&2; exit 5"}, bottle.Node, "given", 5, "given", "told\n"},
		"arguments":     {[]string{"printf", "%s|", "a b", "", "$HOME", "'"}, bottle.Node, "", 0, "a b||$HOME|'|", ""},
		"a signal":      {[]string{"sh", "-c", "kill -9 $$"}, bottle.Node, "", 128 + 9, "", ""},
		"no program":    {[]string{"/etc/hostname"}, bottle.Node, "", 126, "", "*"},
		"of the agent":  {[]string{"sh", "-c", "id -u; pwd; echo $HOME"}, bottle.Node, "", 0, "1000\n/workspace\n/home/node\n", ""},
		"of root":       {[]string{"sh", "-c", "id -u; grep CapEff /proc/self/status"}, bottle.Root, "", 0, "0\nCapEff:\t0000000000000000\n", ""},
	} {
		var stdout, stderr bytes.Buffer
		streams := bottle.IO{Stdout: &stdout, Stderr: &stderr}
		if c.stdin != "" {
			streams.Stdin = strings.NewReader(c.stdin)
		}
		code, err := b.Run(t.Context(), c.argv, c.user, streams)
		if err != nil || code != c.code || stdout.String() != c.out || c.failed != "*" && stderr.String() != c.failed {
			t.Errorf("%s: got %d, %v, %q, %q", name, code, err, stdout.String(), stderr.String())
		}
	}
	result, err := b.Exec(t.Context(), `yes | head -c 3000000`, bottle.Node)
	if err != nil || result.Code != 0 || len(result.Stdout) != 1<<20 {
		t.Errorf("more than is kept: got %d bytes, %d, %v", len(result.Stdout), result.Code, err)
	}
}

// A command is left when its context ends, and the bottle goes on.
func cancelEndsACommand(t *testing.T, h Harness) {
	b := h.launch(t, wait)
	ctx, cancel := context.WithCancel(t.Context())
	seen := &trigger{then: cancel}
	done := make(chan error, 1)
	go func() {
		_, err := b.Run(ctx, []string{"sh", "-c", "echo begun; exec sleep 1000"}, bottle.Node, bottle.IO{Stdout: seen, Stderr: seen})
		done <- err
	}()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it goes on after its context has ended")
	}
	if r, err := b.Exec(t.Context(), "echo alive", bottle.Node); err != nil || string(r.Stdout) != "alive\n" {
		t.Errorf("the bottle was harmed: %+v, %v", r, err)
	}
}

// The terminal of a command has the size that it is given, and follows it.
func aCommandHasATerminal(t *testing.T, h Harness) {
	b := h.launch(t, wait)
	out := &awaited{word: "20 70"}
	streams, keys := seat(out, bottle.Size{Width: 70, Height: 20})
	sizes := make(chan bottle.Size, 2)
	sizes <- bottle.Size{Width: 70, Height: 20}
	streams.Size, streams.View = sizes, bottle.View{}
	out.then = func() { sizes <- bottle.Size{Width: 60, Height: 15} }
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() {
		for !out.has("15 60") && ctx.Err() == nil {
			_, _ = keys.Write([]byte("look\n"))
			time.Sleep(50 * time.Millisecond)
		}
		_, _ = keys.Write([]byte("end\n"))
	}()
	script := `test -t 0 && test -t 1 || exit 9; while read line; do stty size; test "$line" = end && exit 4; done`
	if code, err := b.Run(ctx, []string{"sh", "-c", script}, bottle.Node, streams); err != nil || code != 4 {
		t.Errorf("got %d, %v, %q", code, err, out.all.String())
	}
	left := &awaited{word: "begun"}
	streams, keys = seat(left, bottle.Size{Width: 70, Height: 20})
	left.then = func() { go func() { _, _ = keys.Write([]byte{0x10, 0x11}) }() }
	if _, err := b.Run(ctx, []string{"sh", "-c", "echo begun; exec sleep 1000"}, bottle.Node, streams); !errors.Is(err, bottle.ErrDetached) {
		t.Errorf("left by keys: got %v, want ErrDetached", err)
	}
}

// What is told of a running bottle is what there is, and its bundle answers the host.
func whatRunsIsTold(t *testing.T, h Harness) {
	begun := time.Now()
	first, second := h.launch(t, wait), h.launch(t, wait)
	active, err := h.Backend.Active(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var slugs []string
	for _, a := range active {
		slugs = append(slugs, a.Slug)
		at, err := time.Parse(time.RFC3339, a.StartedAt)
		if a.Backend != h.Backend.Name() || a.AgentName != "script" || a.Status != bottle.Running || err != nil || at.Before(begun.Add(-2*time.Second)) || at.After(time.Now().Add(2*time.Second)) {
			t.Errorf("got %+v, begun at %s", a, begun)
		}
		if !slices.Contains(a.Services, control.Egress) || !slices.IsSorted(a.Services) {
			t.Errorf("got services %v", a.Services)
		}
	}
	want := []string{first.Name(), second.Name()}
	slices.Sort(want)
	if !slices.Equal(slugs, want) {
		t.Errorf("got %v, want %v", slugs, want)
	}
	conn, err := first.Control(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client := control.Client{Dial: func(context.Context) (net.Conn, error) { return conn, nil }}
	if policy, err := client.Policy(t.Context()); err != nil || len(policy.Routes) == 0 {
		t.Errorf("its bundle says %+v, %v", policy, err)
	}
	_ = conn.Close()
}

// Of two launches of one identity at once, one has the bottle, and the other harms nothing.
func oneOfTwoLaunches(t *testing.T, h Harness) {
	spec := h.Spec(t, wait)
	spec.Identity = bottle.NewIdentity("script")
	var launching sync.WaitGroup
	launched := make([]bottle.Bottle, 2)
	for i := range launched {
		plan, err := h.Backend.Prepare(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		launching.Go(func() { launched[i], _ = plan.Launch(t.Context(), nil) })
	}
	launching.Wait()
	launched = slices.DeleteFunc(launched, func(b bottle.Bottle) bool { return b == nil })
	if len(launched) != 1 {
		t.Errorf("%d of two were launched", len(launched))
	}
	for _, b := range launched {
		if r, err := b.Exec(t.Context(), "echo alive", bottle.Node); err != nil || string(r.Stdout) != "alive\n" {
			t.Errorf("it was harmed: %+v, %v", r, err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}
