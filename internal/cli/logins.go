package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/secret"
	"github.com/bot-bottle/bot-bottle/internal/secretsource"
)

// A bottle's login must be renewed while it runs, and no process of ours need be there for as
// long. So each that is looks after every bottle that runs here: start, resume and attach
// while they last, the dashboard, and exec when it comes by. Which token a bundle has, a hash
// beside its record tells.

// loginEach is how often logins are looked after. An access token is renewed well before its
// end (package login).
const loginEach = time.Minute

// logins are the tokens that this process has fetched, by the manifest's word for them.
type logins struct {
	mu   sync.Mutex
	last map[string]string // to a hash
}

// resolver fetches secrets, and remembers which token of a login it was.
func (a *App) resolver() bottle.SecretResolver {
	resolve := secretsource.Resolver(a.LookupEnv, secretTimeout)
	return func(ctx context.Context, s manifest.SecretSource) (secret.Value, error) {
		value, err := resolve(ctx, s)
		if s.Login != "" && err == nil {
			a.logins.mu.Lock()
			defer a.logins.mu.Unlock()
			if a.logins.last == nil {
				a.logins.last = make(map[string]string)
			}
			a.logins.last[s.Login] = hashOf(value)
		}
		return value, err
	}
}

func hashOf(value secret.Value) string {
	sum := sha256.Sum256([]byte(value.Reveal()))
	return hex.EncodeToString(sum[:])
}

// keepLogins looks after the logins of all bottles that run, for as long as ctx goes on. What
// goes wrong is told once.
func (a *App) keepLogins(ctx context.Context) {
	tick := time.NewTicker(loginEach)
	defer tick.Stop()
	told := ""
	for {
		if err := a.renewLogins(ctx); err != nil && ctx.Err() == nil && err.Error() != told {
			told = err.Error()
			_, _ = fmt.Fprintf(a.Stderr, "bot-bottle: %s\r\n", printable(told))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// renewLogins hands every bottle that runs the token that is good now, if it has another one.
func (a *App) renewLogins(ctx context.Context) error {
	if m, err := a.manifest(); err != nil || !hasLogins(m) {
		return nil // nobody is asked for nothing, each minute
	}
	backends, err := a.sorted()
	if err != nil {
		return err
	}
	var all []error
	for _, b := range backends {
		active, err := b.Active(ctx)
		if err != nil {
			continue // it is not for this to say that a backend cannot be asked
		}
		for _, running := range active {
			if err := a.renewLoginsOf(ctx, running.Slug); err != nil {
				all = append(all, fmt.Errorf("%s goes on with an old login: %w", running.Slug, err))
			}
		}
	}
	return errors.Join(all...)
}

func hasLogins(m *manifest.Manifest) bool {
	for _, b := range m.Bottles {
		for _, source := range b.Secrets {
			if source.Login != "" {
				return true
			}
		}
	}
	return false
}

func (a *App) renewLoginsOf(ctx context.Context, identity string) error {
	sources, err := a.sourcesOf(identity)
	if err != nil {
		return nil // nobody knows where its secrets are from
	}
	for name, source := range sources {
		if source.Login == "" {
			continue
		}
		value, err := a.resolver()(ctx, source)
		if err != nil {
			return err
		}
		if a.hasLogin(identity, name, value) {
			continue
		}
		if err := a.handLogin(ctx, identity, name, value); err != nil {
			return err
		}
	}
	return nil
}

func (a *App) handLogin(ctx context.Context, identity, name string, value secret.Value) (err error) {
	running, err := a.find(ctx, identity)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, running.Detach()) }()
	api := control.Client{Dial: running.Control}
	if err := api.SetSecrets(ctx, []control.NewValue{{Name: name, Value: value.Reveal()}}); err != nil {
		return err
	}
	return a.markLogin(identity, name, hashOf(value))
}

func (a *App) loginMark(identity, name string) string {
	return filepath.Join(a.store().Dir(identity), "login-"+name)
}

func (a *App) hasLogin(identity, name string, value secret.Value) bool {
	mark, err := os.ReadFile(a.loginMark(identity, name))
	return err == nil && string(mark) == hashOf(value)
}

func (a *App) markLogin(identity, name, hash string) error {
	return os.WriteFile(a.loginMark(identity, name), []byte(hash), 0o600)
}

// markLogins notes which tokens a bottle was started with.
func (a *App) markLogins(identity string) {
	sources, err := a.sourcesOf(identity)
	if err != nil {
		return
	}
	a.logins.mu.Lock()
	defer a.logins.mu.Unlock()
	for name, source := range sources {
		if hash := a.logins.last[source.Login]; source.Login != "" && hash != "" {
			_ = a.markLogin(identity, name, hash) // else it is handed the same once more
		}
	}
}
