//go:build !linux

package guest

import (
	"context"
	"errors"
	"io"
)

// Run fails: bottles run Linux.
func Run(context.Context, Options) (int, error) {
	return 0, errors.New("the guest runs on Linux only")
}

// Attach fails: bottles run Linux.
func Attach(context.Context, string, io.Reader, io.Writer) error {
	return errors.New("the guest runs on Linux only")
}
