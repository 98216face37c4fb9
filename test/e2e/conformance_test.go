package e2e

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/backend/docker"
	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/bottle/bottletest"
	"github.com/bot-bottle/bot-bottle/internal/image"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/secret"
	"github.com/bot-bottle/bot-bottle/internal/secretsource"
	"github.com/bot-bottle/bot-bottle/internal/state"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// Invariant 8: the docker backend passes the suite of all backends.
func TestDockerConforms(t *testing.T) {
	dockerOnly(t, "it is the docker backend")
	t.Parallel()
	h := open(t, standin.Options{})
	dockerfile := "USER root\nRUN printf '#!/bin/sh\\nshift\\nexec sh -c \"$1\"\\n' > /usr/local/bin/claude && chmod 755 /usr/local/bin/claude\n"
	if err := errors.Join(
		h.Write("script/Dockerfile", dockerfile),
		h.Write("bottles/script.md", fmt.Sprintf("---\nextends: dev\nagent_provider: {dockerfile: %s}\n---\n", filepath.Join(h.Home, "script", "Dockerfile"))),
		h.Write("agents/script.md", "---\nbottle: script\n---\n"),
	); err != nil {
		t.Fatal(err)
	}
	store := state.Open(h.Home)
	driver := &docker.Driver{
		Client: h.Engine, State: store, Binary: programs.program, Roots: func() (string, error) { return h.Standin.CA, nil },
		Log: slog.New(slog.DiscardHandler), Now: time.Now,
		Images: image.Builder{Client: h.Engine, Lock: store.CacheLock, Getenv: os.Getenv},
	}
	bottletest.Run(t, bottletest.Harness{Backend: bottle.Use(driver), State: driver.State, Spec: func(t *testing.T, script string) bottle.Spec {
		m, err := manifest.Load(h.Home, "", h.Home)
		if err != nil {
			t.Fatal(err)
		}
		env := func(string) (string, bool) { return h.Key, true }
		return bottle.Spec{
			Manifest: m, Agent: "script", Cwd: h.Home, Args: []string{script}, Stdin: true, Remove: true,
			Secrets: func(ctx context.Context, s manifest.SecretSource) (secret.Value, error) {
				return secretsource.Resolver(env, time.Second)(ctx, s)
			},
		}
	}})
}
