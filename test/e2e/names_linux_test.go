package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// upstreamHost is the name that leads to where the tests listen. In a bundle's container the engine
// knows it; a bundle of processes of this host's looks it up as the host does.
const upstreamHost = "host.docker.internal"

// namedVariable is set for tests that know the name.
const namedVariable = "BOT_BOTTLE_E2E_NAMED"

// named runs the tests once more in a mount namespace of their own, in which /etc/hosts has the name;
// known is true in that run. Whatever the tests start, bundles among them, sees the same file.
func named() (status int, known bool, err error) {
	dir := os.Getenv(namedVariable)
	if dir == "" {
		status, err := runNamed()
		return status, false, err
	}
	file := filepath.Join(dir, "hosts")
	if err := syscall.Mount(file, "/etc/hosts", "", syscall.MS_BIND, ""); err != nil {
		return 0, false, fmt.Errorf("cannot give the tests a name of their own: %w", err)
	}
	return 0, true, os.Unsetenv(namedVariable)
}

func runNamed() (status int, err error) {
	address, err := gateway()
	if err != nil {
		return 0, err
	}
	hosts, err := os.ReadFile("/etc/hosts")
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "bot-bottle-names-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	hosts = fmt.Appendf(hosts, "\n%s %s\n", address, upstreamHost)
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "hosts"), hosts, 0o644)); err != nil {
		return 0, err
	}
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Args[0] = os.Args[0]
	c.Env = append(os.Environ(), namedVariable+"="+dir)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err = c.Run()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return max(1, ended.ExitCode()), nil
	}
	return 0, err
}
