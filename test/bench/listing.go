package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	ask "github.com/bot-bottle/bot-bottle/internal/requests"
	"github.com/bot-bottle/bot-bottle/internal/state"
	"github.com/bot-bottle/bot-bottle/test/lab"
)

// listed is how many requests wait when they are listed. A bottle takes down 50 at most, and
// so one that is resumed with a log that says that it took more is the hardest case: all is one
// bundle's work.
const listed = 1000

// measureListing times requests, the whole command, over a bottle with a thousand that wait.
func measureListing(ctx context.Context, l *lab.Lab) (_ []figure, err error) {
	started, err := l.Run(ctx, nil, "start", "-y", "--detach", "asker")
	if err != nil || started.Code != 0 {
		return nil, fmt.Errorf("cannot start an agent that asks: %w\n%s", err, started.Stderr)
	}
	identity := strings.TrimSpace(started.Stdout)
	defer func() {
		for _, verb := range []string{"stop", "rm"} {
			_, failed := l.Run(context.WithoutCancel(ctx), nil, verb, identity)
			err = errors.Join(err, failed)
		}
	}()
	if r, err := l.Run(ctx, nil, "stop", identity); err != nil || r.Code != 0 {
		return nil, fmt.Errorf("cannot stop it: %w\n%s", err, r.Stderr)
	}
	if err := pretend(state.Open(l.Home), identity); err != nil {
		return nil, err
	}
	if r, err := l.Run(ctx, nil, "resume", "-y", "--detach", identity); err != nil || r.Code != 0 {
		return nil, fmt.Errorf("cannot resume it: %w\n%s", err, r.Stderr)
	}
	var times []time.Duration
	for range 11 {
		began := time.Now()
		r, err := l.Run(ctx, nil, "requests", "--json")
		times = append(times, time.Since(began))
		var found []ask.Shown
		if err := errors.Join(err, json.Unmarshal([]byte(r.Stdout), &found)); err != nil || len(found) != listed {
			return nil, fmt.Errorf("got %d of %d requests: %w\n%s", len(found), listed, err, r.Stderr)
		}
	}
	return []figure{atMost("supervise.list_1000_ms", ms(median(times[1:])), "ms", 100)}, nil
}

// pretend continues a bottle's audit log with requests that wait.
func pretend(store state.Store, identity string) (err error) {
	record, err := store.Read(identity)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(store.AuditFile(identity), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	chain := audit.Continue(*store.AuditHead(identity))
	suffix := identity[strings.LastIndex(identity, "-")+1:]
	for i := range listed {
		r := ask.Request{
			ID: fmt.Sprintf("%s-%d", suffix, i+1), Kind: ask.Egress, State: ask.Pending, Why: []string{"To read the manual."}, Asked: time.Now(),
			Routes: []policy.Route{{Host: fmt.Sprintf("h%d.example", i), Port: 443, Protocol: policy.HTTPS, Methods: []string{"GET"}, Paths: []string{"/manual/**"}}},
		}
		snapshot, err := json.Marshal(r)
		if err != nil {
			return err
		}
		line, err := chain.Line(audit.Event{Time: time.Now(), Bottle: identity, Service: "supervise", Kind: audit.Ask, Request: r.ID, Snapshot: snapshot})
		if err == nil {
			_, err = f.Write(line)
		}
		if err != nil {
			return errors.Join(err, f.Close())
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	record.Audit = store.AuditHead(identity)
	return store.Write(record)
}
