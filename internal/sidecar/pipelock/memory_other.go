//go:build !linux

package pipelock

import (
	"errors"
	"os"
)

func inMemory() (*os.File, func() error, error) {
	return nil, nil, errors.ErrUnsupported
}
