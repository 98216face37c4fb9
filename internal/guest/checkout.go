package guest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Checkout writes the files of the repository that was brought into the workspace, if they
// are not there yet, and becomes the command (execve(2)): it returns only if that fails.
// marker, in the repository's .git, names the tree of the files and that of the index; it goes
// when both are there.
func Checkout(workspace, marker string, argv []string, stderr io.Writer) (int, error) {
	if err := checkout(workspace, filepath.Join(workspace, ".git", marker), stderr); err != nil {
		return 0, fmt.Errorf("cannot write the files of the repository at hand: %w", err)
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return unrunnable(err), fmt.Errorf("cannot run the agent: %w", err)
	}
	err = syscall.Exec(path, argv, os.Environ())
	return unrunnable(err), fmt.Errorf("cannot run the agent: %s: %w", path, err)
}

func checkout(workspace, file string, stderr io.Writer) error {
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	trees := strings.Fields(string(data))
	if len(trees) != 2 {
		return errors.New("it is not said which")
	}
	steps := [][]string{{"read-tree", "--reset", "-u", trees[0]}}
	if trees[1] != trees[0] {
		steps = append(steps, []string{"read-tree", trees[1]})
	}
	steps = append(steps, []string{"update-index", "-q", "--refresh"})
	for i, step := range steps {
		git := exec.Command("git", append([]string{"-C", workspace}, step...)...)
		git.Stderr = stderr
		if err := git.Run(); err != nil && i < len(steps)-1 { // the last one finds changes that are meant to be there
			return fmt.Errorf("git %s: %w (the image needs git)", step[0], err)
		}
	}
	return os.Remove(file)
}
