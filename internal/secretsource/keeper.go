package secretsource

import (
	"context"
	"errors"
	"os/exec"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/hostcmd"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
)

// program is how a keeper is asked.
type program struct {
	argv      []string
	firstLine bool   // the rest is notes
	install   string // where there is no such program
	refused   string // where it gave nothing
}

// programOf is how the keeper of a source is asked. Arguments are as each program's own
// manual page has them.
func programOf(s manifest.SecretSource) program {
	entry := strings.Join(s.Entry, " ")
	switch s.Keeper {
	case manifest.KeeperGH:
		return program{
			argv:    []string{"gh", "auth", "token", "--hostname", entry},
			install: "install GitHub's command-line program, gh", refused: "log in with: gh auth login --hostname " + entry,
		}
	case manifest.KeeperKeychain:
		argv := []string{"security", "find-generic-password", "-s", entry}
		if s.Account != "" {
			argv = append(argv, "-a", s.Account)
		}
		return program{
			argv:    append(argv, "-w"),
			install: "the Keychain is there on macOS only", refused: "add it with: security add-generic-password -s " + entry + " -a \"$USER\" -w",
		}
	case manifest.KeeperOnePassword:
		return program{
			argv:    []string{"op", "read", entry},
			install: "install 1Password's command-line program, op", refused: "sign in with: op signin, and see that the reference is right",
		}
	case manifest.KeeperPass:
		return program{
			argv: []string{"pass", "show", entry}, firstLine: true,
			install: "install pass, the standard unix password manager", refused: "add it with: pass insert " + entry,
		}
	case manifest.KeeperSecretService:
		return program{
			argv:    append([]string{"secret-tool", "lookup"}, s.Entry...),
			install: "install secret-tool (libsecret-tools)", refused: "add it with: secret-tool store --label=bot-bottle " + entry,
		}
	}
	return program{}
}

// ask asks a source's keeper, which may unlock itself with a dialog of its own.
func ask(ctx context.Context, dir string, s manifest.SecretSource) (string, error) {
	p := programOf(s)
	out, err := hostcmd.Output(ctx, dir, p.argv)
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "", &keeperError{err, p.install}
	case err != nil:
		return "", &keeperError{err, p.refused}
	case len(out) == 0:
		return "", &keeperError{errors.New(p.argv[0] + " gave nothing"), p.refused}
	}
	if p.firstLine {
		line, _, _ := strings.Cut(string(out), "\n")
		return line, nil
	}
	return string(out), nil
}

// keeperError is a keeper that gave no secret, with what to do about it.
type keeperError struct {
	error
	hint string
}

func (e *keeperError) Unwrap() error { return e.error }

// Hint says what to do.
func (e *keeperError) Hint() string { return e.hint }
