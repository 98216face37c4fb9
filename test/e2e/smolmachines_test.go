package e2e

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/backend/smolmachines"
	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/bottle/bottletest"
	"github.com/bot-bottle/bot-bottle/internal/image"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/secret"
	"github.com/bot-bottle/bot-bottle/internal/secretsource"
	"github.com/bot-bottle/bot-bottle/internal/state"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// The script that users verify the real smolvm with finds nothing wrong with the stand-in, and does find
// a machine that has a network.
func TestTheScriptThatVerifiesSmolvm(t *testing.T) {
	t.Parallel()
	h := openOn(t, smolvm, standin.Options{})
	verify := func() (report string, err error) {
		c := exec.CommandContext(t.Context(), "../../scripts/verify-smolmachines")
		c.Env = append(h.Env(), "BOT_BOTTLE="+programs.program)
		out, err := c.CombinedOutput()
		return string(out), err
	}
	report, err := verify()
	if err != nil || strings.Contains(report, "FAILED") || strings.Count(report, "\nok ") < 40 || !strings.Contains(report, "all steps went well") {
		t.Errorf("%v\n%s", err, report)
	}
	if err := os.WriteFile(filepath.Join(h.Getenv("SMOLVM_DATA_DIR"), "faults.json"), []byte(`{"network": "true"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if report, err := verify(); err == nil || !strings.Contains(report, "FAILED  start") || !strings.Contains(report, "has a network") {
		t.Errorf("with a network: %v\n%s", err, report)
	}
}

// Invariant 8: the smolmachines backend passes the suite of all backends, through the stand-in.
func TestSmolmachinesConforms(t *testing.T) {
	t.Parallel()
	h := openOn(t, smolvm, standin.Options{})
	dockerfile := "USER root\nRUN printf '#!/bin/sh\\nshift\\nexec sh -c \"$1\"\\n' > /usr/local/bin/claude && chmod 755 /usr/local/bin/claude\n"
	if err := errors.Join(
		h.Write("script/Dockerfile", dockerfile),
		h.Write("bottles/script.md", fmt.Sprintf("---\nextends: dev\nagent_provider: {dockerfile: %s}\n---\n", filepath.Join(h.Home, "script", "Dockerfile"))),
		h.Write("agents/script.md", "---\nbottle: script\n---\n"),
	); err != nil {
		t.Fatal(err)
	}
	store := state.Open(h.Home)
	driver := &smolmachines.Driver{
		State: store, Self: programs.program, Binary: programs.program, Roots: func() (string, error) { return h.Standin.CA, nil },
		Getenv: h.Getenv, Log: slog.New(slog.DiscardHandler), Now: time.Now,
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
