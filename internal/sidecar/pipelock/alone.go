package pipelock

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/confine"
	"github.com/bot-bottle/bot-bottle/internal/pipelock"
)

// OnHost is a pipelock that runs beside the operator's own processes.
type OnHost struct {
	Dir     string // of the sockets: the operator's alone
	Program string
	Hash    string // of the program that the operator was shown, in hex (SHA-256)
}

// Alone is Run for a process of the host's, which was started in namespaces of its own and closes
// itself off: it keeps a loopback that is nobody else's, its program, and one directory.
func Alone(ctx context.Context, h OnHost, grace time.Duration) error {
	if err := h.unchanged(); err != nil {
		return err
	}
	own := filepath.Join(h.Dir, "own")
	if err := os.MkdirAll(own, 0o700); err != nil {
		return err
	}
	if err := errors.Join(loopback(), confine.Forsake()); err != nil {
		return fmt.Errorf("cannot close pipelock off: %w", err)
	}
	return Run(ctx, Options{
		Dir: h.Dir, Program: h.Program, ConfigFile: filepath.Join(own, "pipelock.yaml"), Settings: pipelock.InContainer(), Grace: grace,
		CloseOff: func() error {
			return confine.Service{Read: []string{h.Program}, Write: []string{own}, Runs: true}.Apply()
		},
	})
}

// unchanged makes sure that the program is the one that the operator was shown.
func (h OnHost) unchanged() error {
	file, err := os.Open(h.Program)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return err
	}
	if hex.EncodeToString(sum.Sum(nil)) != h.Hash {
		return fmt.Errorf("%s has changed since it was looked at", h.Program)
	}
	return nil
}
