//go:build unix

package cli

import (
	"os"
	"syscall"
)

func resizeSignals() []os.Signal { return []os.Signal{syscall.SIGWINCH} }
