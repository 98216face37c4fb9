package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// maxSupplied bounds a credential that is read.
const maxSupplied = 64 << 10

// supply gets the credential that a request asks for, "" if it asks for none.
func (a *App) supply(ctx context.Context, s requests.Shown, from string) (string, error) {
	if s.Kind != requests.Secret && s.Kind != requests.Repo {
		if from != "" {
			return "", &usageError{what: s.ID + " asks for no credential", hint: "leave --secret-from out"}
		}
		return "", nil
	}
	value, err := a.readSecret(ctx, s, from)
	if err == nil && value == "" {
		err = errors.New("the credential is empty")
	}
	return value, err
}

func (a *App) readSecret(ctx context.Context, s requests.Shown, from string) (string, error) {
	kind, what, _ := strings.Cut(from, ":")
	switch {
	case kind == "env":
		value, ok := a.LookupEnv(what)
		if !ok {
			return "", fmt.Errorf("the environment has no %s", what)
		}
		return value, nil
	case kind == "file":
		data, err := os.ReadFile(what)
		return strings.TrimRight(string(data), "\r\n"), err
	case from == "-":
		data, err := io.ReadAll(io.LimitReader(a.Stdin, maxSupplied))
		return strings.TrimRight(string(data), "\r\n"), err
	case from != "":
		return "", &usageError{what: fmt.Sprintf("--secret-from %q is none of env:NAME, file:PATH, -", from), hint: "see bot-bottle approve --help"}
	case !isTerminal(a.Stdin):
		return "", &usageError{what: "it asks for a credential, and standard input is not a terminal", hint: "say where it comes from: --secret-from env:NAME"}
	}
	_, _ = fmt.Fprintf(a.Stderr, "%s (not shown): ", printable(s.Routes[0].Auth.Secret)) // a Repo has a from
	value, err := a.readUnseen(ctx)
	_, _ = fmt.Fprintln(a.Stderr)
	return value, err
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
