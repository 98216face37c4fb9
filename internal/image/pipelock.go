package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
)

// PipelockName is the repository of images made of a pipelock of the operator's.
const PipelockName = "bot-bottle/pipelock"

// maxProgram bounds a pipelock, in bytes.
const maxProgram = 256 << 20

// PipelockRef names the image that EnsurePipelock would make of a program on this host, and the
// program's hash. It is an error where an empty image could not run it on the engine's
// architecture ("x86_64", "aarch64", or as Go says it).
func PipelockRef(path, architecture string) (ref, hash string, err error) {
	data, err := readProgram(path)
	if err != nil {
		return "", "", err
	}
	program, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return "", "", fmt.Errorf("%s is no Linux program", path)
	}
	machines := map[string]elf.Machine{"x86_64": elf.EM_X86_64, "amd64": elf.EM_X86_64, "aarch64": elf.EM_AARCH64, "arm64": elf.EM_AARCH64}
	if want, known := machines[architecture]; known && want != program.Machine {
		return "", "", fmt.Errorf("%s is a program for another processor (%s) than the engine's (%s)", path, program.Machine, architecture)
	}
	for _, part := range program.Progs {
		if part.Type == elf.PT_INTERP {
			return "", "", fmt.Errorf("%s needs shared libraries, and runs in an image that has none: build it with CGO_ENABLED=0", path)
		}
	}
	sum := sha256.Sum256(data)
	hash = hex.EncodeToString(sum[:])
	return PipelockName + ":" + hash[:12], hash, nil
}

func readProgram(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot read it: %w", err)
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return nil, fmt.Errorf("%s is no program", path)
	case info.Size() > maxProgram:
		return nil, fmt.Errorf("%s is larger than %d MiB", path, maxProgram>>20)
	}
	return os.ReadFile(path)
}

// EnsurePipelock makes an image of nothing but a program of the operator's, whose hash is the
// one that was shown.
func (b Builder) EnsurePipelock(ctx context.Context, path, hash string, say func(string)) (Image, error) {
	return b.ensure(ctx, PipelockName+":"+hash[:12], say, func() (job, error) {
		data, err := readProgram(path)
		if err != nil {
			return job{}, err
		}
		if sum := sha256.Sum256(data); hex.EncodeToString(sum[:]) != hash {
			return job{}, fmt.Errorf("%s has changed meanwhile", path)
		}
		c := newContext()
		if err := errors.Join(c.addMode("pipelock", data, 0o755), c.add("Dockerfile", []byte("FROM scratch\nCOPY pipelock /pipelock\n"))); err != nil {
			return job{}, err
		}
		sent, err := c.bytes()
		return job{context: bytes.NewReader(sent), offline: true}, err
	})
}
