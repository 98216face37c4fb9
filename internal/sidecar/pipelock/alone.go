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
	program, err := h.sealed()
	if err != nil {
		return err
	}
	defer func() { _ = program.Close() }()
	own := filepath.Join(h.Dir, "own")
	if err := os.MkdirAll(own, 0o700); err != nil {
		return err
	}
	if err := errors.Join(loopback(), confine.Forsake()); err != nil {
		return fmt.Errorf("cannot close pipelock off: %w", err)
	}
	return Run(ctx, Options{
		Dir: h.Dir, Program: h.Program, Copy: program, ConfigFile: filepath.Join(own, "pipelock.yaml"), Settings: pipelock.InContainer(), Grace: grace, Init: os.Getpid() == 1,
		CloseOff: func() error {
			return confine.Service{Write: []string{own}, Runs: true, Memory: memory}.Apply()
		},
	})
}

// memory is what pipelock may have of its own, beside its program. A container of it has half of that
// in all; but what a program of Go's asks for is more than it uses.
const memory = 512 << 20

// maxProgram bounds a program that grows while it is read.
const maxProgram = 1 << 30

// sealed is a copy of the program in memory, which nobody can change any more: the one that the operator
// was shown, whatever takes its file's place from now on.
func (h OnHost) sealed() (*os.File, error) {
	file, err := os.Open(h.Program)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	copied, seal, err := inMemory()
	if err != nil {
		return nil, fmt.Errorf("cannot copy %s: %w", h.Program, err)
	}
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(copied, sum), io.LimitReader(file, maxProgram))
	if err = errors.Join(err, seal()); err == nil && hex.EncodeToString(sum.Sum(nil)) != h.Hash {
		err = fmt.Errorf("%s has changed since it was looked at", h.Program)
	}
	if err != nil {
		return nil, errors.Join(err, copied.Close())
	}
	return copied, nil
}
