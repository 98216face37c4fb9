//go:build !linux

package guest

import (
	"context"
	"errors"
	"io"
)

var errNotHere = errors.New("a guest runs on Linux only")

// RunMachine is process 1 of a machine's workload.
func RunMachine(context.Context, Options, string) error { return errNotHere }

// Bring is the guest's side of a Stream.
func Bring(context.Context, string, string, io.Reader, io.Writer) error { return errNotHere }

// Talk connects a stream with the guest of the machine that it runs in.
func Talk(context.Context, string, string, io.Reader, io.Writer) error { return errNotHere }

// Within becomes a command in a machine.
func Within(string, []string) (int, error) { return 126, errNotHere }
