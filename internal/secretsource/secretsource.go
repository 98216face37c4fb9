// Package secretsource fetches secrets from where a manifest says they are: on the
// host, at start. It must never print one, also not in an error.
package secretsource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bot-bottle/bot-bottle/internal/hostcmd"
	"github.com/bot-bottle/bot-bottle/internal/login"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/secret"
)

// maxSecret bounds a secret, in bytes.
const maxSecret = 64 << 10

// Resolver returns a function that fetches one secret. A command may take as long as
// timeout. One newline at the end is not part of a secret.
func Resolver(lookupEnv func(string) (string, bool), timeout time.Duration) func(context.Context, manifest.SecretSource) (secret.Value, error) {
	return func(ctx context.Context, s manifest.SecretSource) (secret.Value, error) {
		raw, err := fetch(ctx, s, lookupEnv, timeout)
		if err != nil {
			return secret.Value{}, err
		}
		return Parse(raw)
	}
}

// Parse makes a secret of what somebody typed or a file holds. One newline at the end is not
// part of it.
func Parse(raw string) (secret.Value, error) {
	return check(strings.TrimSuffix(strings.TrimSuffix(raw, "\n"), "\r"))
}

// Read reads a secret to its end, as Parse takes it, and never more of r than a secret may hold.
func Read(r io.Reader) (secret.Value, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxSecret+3)) // a newline, and one byte more, so that check sees that there is more
	if err != nil {
		return secret.Value{}, err
	}
	return Parse(string(data))
}

func fetch(ctx context.Context, s manifest.SecretSource, lookupEnv func(string) (string, bool), timeout time.Duration) (string, error) {
	switch {
	case s.Env != "":
		value, ok := lookupEnv(s.Env)
		if !ok || value == "" {
			return "", notSet(s.Env)
		}
		return value, nil
	case len(s.Command) > 0:
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		out, err := hostcmd.Output(ctx, home(lookupEnv), s.Command)
		return string(out), err
	case s.Keeper != "":
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return ask(ctx, home(lookupEnv), s)
	case s.File != "":
		return readFile(s.File)
	case s.Login == "codex":
		codex, err := login.NewCodex(lookupEnv)
		if err != nil {
			return "", err
		}
		return codex.Token(ctx)
	}
	return "", errors.New("it has no source")
}

// notSet is the name of a variable that there is not.
type notSet string

func (name notSet) Error() string {
	return fmt.Sprintf("the environment variable %s is not set", string(name))
}

// Hint says where it may be as well.
func (notSet) Hint() string {
	return "export it, or say under secrets: in the bottle's file where else it is (docs/secrets.md)"
}

// home is where a secret's command runs: never in the directory at hand, which may be a
// hostile repository's. Many commands take configuration from there, or programs.
func home(lookupEnv func(string) (string, bool)) string {
	dir, _ := lookupEnv("HOME")
	if info, err := os.Stat(dir); err != nil || !info.IsDir() || !filepath.IsAbs(dir) {
		return "/"
	}
	return dir
}

func readFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > maxSecret {
		return "", fmt.Errorf("%s is not a regular file of at most %d bytes", path, maxSecret)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1)) // one more, so that check sees one that grew
	return string(data), err
}

// check refuses what would not reach an upstream as it is: what breaks out of a header,
// what a header loses at its ends (egress would not know it again in an echo), and what
// is not text (the bundle's configuration is JSON).
func check(value string) (secret.Value, error) {
	control := func(r rune) bool { return r < 0x20 || r == 0x7f }
	switch {
	case value == "":
		return secret.Value{}, errors.New("it is empty")
	case len(value) > maxSecret:
		return secret.Value{}, fmt.Errorf("it is longer than %d bytes", maxSecret)
	case strings.ContainsFunc(value, control):
		return secret.Value{}, errors.New("it holds a line break or another control character")
	case !utf8.ValidString(value):
		return secret.Value{}, errors.New("it is not text in UTF-8")
	case strings.TrimSpace(value) != value:
		return secret.Value{}, errors.New("it begins or ends with a space")
	}
	return secret.New(value), nil
}
