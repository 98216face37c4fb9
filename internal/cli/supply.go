package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/requests"
	"github.com/bot-bottle/bot-bottle/internal/secret"
	"github.com/bot-bottle/bot-bottle/internal/secretsource"
)

// supply gets the credential that a request asks for, "" if it asks for none. It is one that a
// manifest's secret could be: of a bounded size, and such that it can be sent as it is.
func (a *App) supply(ctx context.Context, s requests.Shown, from string) (string, error) {
	if s.Kind != requests.Secret && s.Kind != requests.Repo {
		if from != "" {
			return "", &usageError{what: s.ID + " asks for no credential", hint: "leave --secret-from out"}
		}
		return "", nil
	}
	value, err := a.readSecret(ctx, s, from)
	if usage := (*usageError)(nil); err != nil && !errors.As(err, &usage) {
		err = fmt.Errorf("the credential cannot be used: %w", err)
	}
	return value.Reveal(), err
}

func (a *App) readSecret(ctx context.Context, s requests.Shown, from string) (secret.Value, error) {
	kind, what, _ := strings.Cut(from, ":")
	fetch := secretsource.Resolver(a.LookupEnv, secretTimeout)
	switch {
	case kind == "env" && what != "":
		return fetch(ctx, manifest.SecretSource{Env: what})
	case kind == "file" && what != "":
		return fetch(ctx, manifest.SecretSource{File: a.absolute(what)})
	case from == "-":
		return secretsource.Read(a.Stdin)
	case from != "":
		return secret.Value{}, &usageError{what: fmt.Sprintf("--secret-from %q is none of env:NAME, file:PATH, -", from), hint: "see bot-bottle approve --help"}
	case !isTerminal(a.Stdin):
		return secret.Value{}, &usageError{what: "it asks for a credential, and standard input is not a terminal", hint: "say where it comes from: --secret-from env:NAME"}
	}
	_, _ = fmt.Fprintf(a.Stderr, "%s (not shown): ", printable(s.Routes[0].Auth.Secret)) // a Repo has a from
	value, err := a.readUnseen(ctx)
	_, _ = fmt.Fprintln(a.Stderr)
	if err != nil {
		return secret.Value{}, err
	}
	return secretsource.Parse(value)
}

// absolute is a file as somebody names it on the command line, behind what no shell expands.
func (a *App) absolute(file string) string {
	if rest, ok := strings.CutPrefix(file, "~/"); ok {
		file = filepath.Join(a.userHome, rest)
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(a.cwd, file)
	}
	return file
}

// readUnseen reads a line that the terminal does not show. When ctx ends first, the
// terminal is as it was; the read stays behind until the process does.
func (a *App) readUnseen(ctx context.Context) (string, error) {
	fd := int(a.Stdin.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	type answer struct {
		line []byte
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		line, err := term.ReadPassword(fd)
		got <- answer{line, err}
	}()
	select {
	case a := <-got:
		return string(a.line), a.err
	case <-ctx.Done():
		return "", errors.Join(ctx.Err(), term.Restore(fd, before))
	}
}
