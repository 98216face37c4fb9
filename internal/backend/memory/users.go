//go:build linux

package memory

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A bottle has users, root and the agent's at least, and its namespaces are made by whoever runs the
// test. Root maps its own; anybody else has root be himself, and the others be those that are
// set aside for him (subuid(5)), for which newuidmap is asked.

// users is how many a bottle has at most.
const users = 1 << 16

// inNamespaces starts process 1 in namespaces of its own, and tells it its layout.
func inNamespaces(c *exec.Cmd, l layout) (*process, error) {
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	if os.Geteuid() == 0 {
		own := []syscall.SysProcIDMap{{Size: users}}
		c.SysProcAttr.UidMappings, c.SysProcAttr.GidMappings, c.SysProcAttr.GidMappingsEnableSetgroups = own, own, true
	} else {
		for capability := uintptr(0); capability <= unix.CAP_LAST_CAP; capability++ { // execve(2) would take them from who is nobody yet
			c.SysProcAttr.AmbientCaps = append(c.SysProcAttr.AmbientCaps, capability)
		}
	}
	told, tell, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = tell.Close() }()
	c.Stdin = told
	p, err := start(c)
	_ = told.Close()
	if err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		err = errors.Join(mapOthers("newuidmap", "/etc/subuid", c.Process.Pid, os.Geteuid()), mapOthers("newgidmap", "/etc/subgid", c.Process.Pid, os.Getegid()))
	}
	if err == nil {
		err = json.NewEncoder(tell).Encode(l)
	}
	return p, err
}

// mapOthers has a program of the system's give a process the users, or groups, that are set aside.
func mapOthers(program, file string, pid, own int) error {
	from, count, err := setAside(file)
	if err != nil {
		return err
	}
	out, err := exec.Command(program, strconv.Itoa(pid), "0", strconv.Itoa(own), "1", "1", from, count).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, out)
	}
	return nil
}

// setAside is the first range of subordinate ids that a file names for us.
func setAside(file string) (from, count string, err error) {
	me, err := user.Current()
	if err != nil {
		return "", "", err
	}
	f, err := os.Open(file)
	if err != nil {
		return "", "", err
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Split(lines.Text(), ":"); len(fields) == 3 && (fields[0] == me.Username || fields[0] == me.Uid) {
			return fields[1], fields[2], nil
		}
	}
	return "", "", fmt.Errorf("%s sets nothing aside for %s", file, me.Username)
}

// becomeRoot makes a process that is nobody in its namespace root, to end with the thread that made
// it still.
func becomeRoot() error {
	runtime.LockOSThread()
	return errors.Join(syscall.Setgroups(nil), syscall.Setresgid(0, 0, 0), syscall.Setresuid(0, 0, 0), unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0, 0, 0))
}

// removeFiles removes what users of a bottle's have made.
func removeFiles(dir string) error {
	if err := os.RemoveAll(dir); err == nil || os.Geteuid() == 0 {
		return err
	}
	said, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = said.Close() }()
	c := exec.Command("/proc/self/exe", first)
	c.ExtraFiles, c.Env = []*os.File{theirs}, environment() // upFD
	p, err := inNamespaces(c, layout{Remove: dir})
	_ = theirs.Close()
	why, readErr := io.ReadAll(said)
	if p != nil && p.Process != nil {
		<-p.ended
	}
	if err == nil && len(why) > 0 {
		err = errors.New(string(why))
	}
	return errors.Join(err, readErr)
}
