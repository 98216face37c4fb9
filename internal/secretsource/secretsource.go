// Package secretsource fetches secrets from where a manifest says they are: on the
// host, at start. It must never print one, also not in an error.
package secretsource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/hostcmd"
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
		return check(strings.TrimSuffix(strings.TrimSuffix(raw, "\n"), "\r"))
	}
}

func fetch(ctx context.Context, s manifest.SecretSource, lookupEnv func(string) (string, bool), timeout time.Duration) (string, error) {
	switch {
	case s.Env != "":
		value, ok := lookupEnv(s.Env)
		if !ok || value == "" {
			return "", fmt.Errorf("the environment variable %s is not set", s.Env)
		}
		return value, nil
	case len(s.Command) > 0:
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		out, err := hostcmd.Output(ctx, s.Command)
		return string(out), err
	case s.File != "":
		return readFile(s.File)
	}
	return "", errors.New("it has no source")
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
	data, err := io.ReadAll(io.LimitReader(f, maxSecret))
	return string(data), err
}

// check refuses what could not stand in a header: it would break out of it.
func check(value string) (secret.Value, error) {
	if value == "" {
		return secret.Value{}, errors.New("it is empty")
	}
	if len(value) > maxSecret || strings.ContainsAny(value, "\x00\r\n") {
		return secret.Value{}, errors.New("it holds a line break or a NUL, or is too long")
	}
	return secret.New(value), nil
}
