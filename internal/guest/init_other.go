//go:build !linux

package guest

import (
	"context"
	"errors"
)

// Run fails: bottles run Linux.
func Run(context.Context, Options) (int, error) {
	return 0, errors.New("the guest runs on Linux only")
}
