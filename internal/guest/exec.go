package guest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
)

// Exec becomes a command. It returns only when that cannot be: 127 when there is no
// such command, 126 when it cannot be run, as a shell does.
func Exec(argv []string) (int, error) {
	path, err := exec.LookPath(argv[0])
	if err == nil {
		err = syscall.Exec(path, argv, os.Environ())
	}
	return unrunnable(err), fmt.Errorf("cannot run %s: %w", argv[0], err)
}

func unrunnable(err error) int {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		return 127
	}
	return 126
}
