package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/backend/docker"
	"github.com/bot-bottle/bot-bottle/internal/backend/smolmachines"
	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/image"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// backends is the registry.
func (a *App) backends() ([]bottle.Backend, error) {
	if a.Backends != nil {
		return a.Backends(a)
	}
	engine, err := a.docker()
	if err != nil {
		return nil, err
	}
	machines, err := a.smolmachines(engine)
	if err != nil {
		return nil, err
	}
	return []bottle.Backend{bottle.Use(engine), bottle.Use(machines)}, nil
}

// smolmachines builds images with the same engine as docker, where there is one.
func (a *App) smolmachines(engine *docker.Driver) (*smolmachines.Driver, error) {
	self, err := a.Executable()
	if err != nil {
		return nil, fmt.Errorf("cannot find our own binary: %w", err)
	}
	return &smolmachines.Driver{
		State: a.store(), Images: a.images(engine.Client), Self: self, Binary: engine.Binary, Version: engine.Version,
		Roots: a.roots, Getenv: a.programVariables, Log: a.log, Now: a.Now,
	}, nil
}

func (a *App) docker() (*docker.Driver, error) {
	engine, err := docker.Connect(a.Getenv, a.userHome)
	if err != nil {
		return nil, fmt.Errorf("cannot use docker: %w", err)
	}
	binary, err := a.guestBinary()
	if err != nil {
		return nil, err
	}
	return &docker.Driver{
		Client: engine, State: a.store(), Binary: binary, Version: currentVersion().Version, Roots: a.roots, Log: a.log, Now: a.Now, Images: a.images(engine),
	}, nil
}

func (a *App) images(engine *client.Client) image.Builder {
	return image.Builder{Client: engine, Lock: a.store().CacheLock, Getenv: a.Getenv, Owner: a.store().Owner}
}

func (a *App) store() state.Store { return state.Open(a.home) }

// defaultBackend is used where nobody says another.
const defaultBackend = "docker"

// backend is the one that the operator chose: --backend, $BOT_BOTTLE_BACKEND, docker.
func (a *App) backend(flag string) (bottle.Backend, error) {
	name := flag
	if name == "" {
		name = a.Getenv("BOT_BOTTLE_BACKEND")
	}
	if name == "" {
		name = defaultBackend
	}
	all, err := a.backends()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, b := range all {
		if b.Name() == name {
			return b, nil
		}
		names = append(names, b.Name())
	}
	slices.Sort(names)
	return nil, &usageError{what: fmt.Sprintf("unknown backend %q", name), hint: "known backends: " + strings.Join(names, ", ")}
}

// available are the backends that can be used here, in order of name, for verbs that
// look at all of them. When there is none, the reasons are the error, but that of one
// that nobody has used here.
func (a *App) available(ctx context.Context) ([]bottle.Backend, error) {
	all, err := a.sorted()
	if err != nil {
		return nil, err
	}
	var usable []bottle.Backend
	var why error
	for _, b := range all {
		if err := b.Available(ctx); err != nil {
			if errors.Is(err, bottle.ErrAbsent) && a.spare(b.Name()) {
				continue
			}
			why = errors.Join(why, fmt.Errorf("%s: %w", b.Name(), err))
			continue
		}
		usable = append(usable, b)
	}
	if len(usable) == 0 {
		return nil, why
	}
	return usable, nil
}

// sorted are all backends, in order of name.
func (a *App) sorted() ([]bottle.Backend, error) {
	all, err := a.backends()
	slices.SortFunc(all, func(x, y bottle.Backend) int { return strings.Compare(x.Name(), y.Name()) })
	return all, err
}

// find opens a running bottle, whichever backend it is on: that of its record, if it has one.
func (a *App) find(ctx context.Context, identity string) (bottle.Bottle, error) {
	if m, err := a.store().Read(identity); bottle.ValidIdentity(identity) && err == nil {
		if b, err := a.backend(m.Backend); err == nil {
			return a.openOn(ctx, b, identity)
		}
	}
	usable, err := a.available(ctx)
	if err != nil {
		return nil, err
	}
	for _, b := range usable {
		if found, openErr := b.Open(ctx, identity); openErr == nil {
			return found, nil
		} else {
			err = openErr
		}
	}
	return nil, &notRunning{err, a.insteadOf(identity, err)}
}

// openOn opens a running bottle on a backend. A backend that cannot be used says so itself.
func (a *App) openOn(ctx context.Context, b bottle.Backend, identity string) (bottle.Bottle, error) {
	found, err := b.Open(ctx, identity)
	if err == nil {
		return found, nil
	}
	if !errors.Is(err, bottle.ErrNotRunning) {
		if unusable := b.Available(ctx); unusable != nil {
			return nil, unusable
		}
	}
	return nil, &notRunning{err, a.insteadOf(identity, err)}
}

// insteadOf is what to do about a bottle that was not found.
func (a *App) insteadOf(identity string, err error) string {
	known, _ := a.store().Identities()
	switch {
	case !errors.Is(err, bottle.ErrNotRunning):
		return bottle.HintOf(err)
	case slices.Contains(known, identity):
		return "to go on with it: bot-bottle resume " + identity
	}
	return "bot-bottle list shows the bottles that run" + manifest.DidYouMean(identity, known)
}

// notRunning is a bottle that does not run, with what to do about it.
type notRunning struct {
	error
	hint string
}

func (e *notRunning) Unwrap() error { return e.error }

// Hint says what to do.
func (e *notRunning) Hint() string { return e.hint }

// roots are the certificates that this host trusts, in PEM. A host without any
// leaves egress with those of its own image.
func (a *App) roots() (string, error) {
	files := []string{
		"/etc/ssl/certs/ca-certificates.crt",                // Debian, Alpine, Arch
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora, RHEL
		"/etc/ssl/ca-bundle.pem",                            // openSUSE
		"/etc/ssl/cert.pem",                                 // macOS
	}
	if named := a.Getenv("SSL_CERT_FILE"); named != "" {
		files = slices.Insert(files, 0, named)
	}
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil {
			return string(data), nil
		}
	}
	return "", nil
}
