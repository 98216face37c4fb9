package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
)

// refresh fetches secrets of a running bottle anew, from where its manifest says they
// are now, and hands them to its bundle. No names means all.
func (a *App) refresh(ctx context.Context, identity string, running bottle.Bottle, names []string) ([]string, error) {
	sources, err := a.sourcesOf(identity)
	if err != nil {
		return nil, err
	}
	api := control.Client{Dial: running.Control}
	now, err := api.Policy(ctx)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		names = now.Secrets
	}
	var values []control.NewValue
	for _, name := range names {
		source, ok := sources[name]
		if !ok {
			return nil, fmt.Errorf("the manifest of %s has no secret %s; it has %s", identity, name, strings.Join(slices.Sorted(maps.Keys(sources)), ", "))
		}
		value, err := a.resolver()(ctx, source)
		if err != nil {
			return nil, fmt.Errorf("cannot fetch secret %s: %w", name, err)
		}
		values = append(values, control.NewValue{Name: name, Value: value.Reveal()})
	}
	return names, api.SetSecrets(ctx, values)
}

// sourcesOf reads where a bottle's secrets come from.
func (a *App) sourcesOf(identity string) (map[string]manifest.SecretSource, error) {
	record, err := a.store().Read(identity)
	if err != nil {
		return nil, fmt.Errorf("cannot read the record of %s: %w", identity, err)
	}
	m, err := a.manifest()
	if err != nil {
		return nil, err
	}
	b, ok := m.Bottles[record.Bottle]
	if !ok {
		return nil, fmt.Errorf("the manifest has no bottle %s any more", record.Bottle)
	}
	return b.Secrets, nil
}

// keepFresh runs the commands of secrets with a ttl again, each when its time is up, for
// as long as ctx goes on. A failure is told once and tried again.
func (a *App) keepFresh(ctx context.Context, identity string) {
	sources, err := a.sourcesOf(identity)
	if err != nil {
		return
	}
	var each sync.WaitGroup
	defer each.Wait()
	for name, source := range sources {
		if source.TTL > 0 {
			each.Go(func() { a.keepOneFresh(ctx, identity, name, source.TTL) })
		}
	}
}

// retryAfter is when a secret that could not be fetched is tried again.
const retryAfter = 30 * time.Second

func (a *App) keepOneFresh(ctx context.Context, identity, name string, ttl time.Duration) {
	wait, told := ttl, ""
	for {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		err := a.refreshOne(ctx, identity, name)
		if ctx.Err() != nil {
			return
		}
		if wait = ttl; err != nil {
			wait = min(ttl, retryAfter)
			if told != err.Error() {
				told = err.Error()
				_, _ = fmt.Fprintf(a.Stderr, "bot-bottle: %s goes on with an old secret: %s\r\n", identity, printable(told))
			}
		}
	}
}

func (a *App) refreshOne(ctx context.Context, identity, name string) (err error) {
	running, err := a.find(ctx, identity)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, running.Detach()) }()
	_, err = a.refresh(ctx, identity, running, []string{name})
	return err
}
