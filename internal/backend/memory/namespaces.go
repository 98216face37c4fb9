//go:build linux

package memory

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/provider"
)

// first is what process 1 of a bottle is started as, before it becomes the guest.
const first = "memory-bottle"

// Main must come first in TestMain: process 1 of a bottle begins as the test's own program. In that
// process it does not return.
func Main() {
	if len(os.Args) == 2 && os.Args[1] == first {
		if err := enter(os.Stdin); err != nil {
			_, _ = fmt.Fprint(os.NewFile(upFD, "up"), err)
		}
		os.Exit(1)
	}
}

// upFD is where process 1 says what went wrong: nothing, once it is the guest.
const upFD = 3

// layout is what a bottle's file system is made of: paths of the host's.
type layout struct {
	Root            string // where to put it together
	Program         string // our own
	Home, Workspace string
	Programs        string
	Sockets         map[string]string // by their names in the bottle
	Remove          string            // this is removed instead, since the bottle's users have files in it
}

// enter puts the file system together, makes it the root, and becomes the guest.
func enter(told io.Reader) error {
	unix.CloseOnExec(upFD)
	var l layout
	if err := json.NewDecoder(told).Decode(&l); err != nil {
		return err
	}
	if err := becomeRoot(); err != nil {
		return err
	}
	if l.Remove != "" {
		return os.RemoveAll(l.Remove)
	}
	if err := errors.Join(l.mount(), loopback()); err != nil {
		return err
	}
	if err := errors.Join(os.Chdir(l.Root), unix.PivotRoot(".", "."), unix.Unmount(".", unix.MNT_DETACH), os.Chdir("/")); err != nil {
		return err
	}
	return syscall.Exec(control.Binary, []string{control.Binary, "guest", "machine"}, environment())
}

// environment is what an image would say.
func environment() []string {
	return []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
}

// mount is the file system: memory, with this host's programs to read.
func (l layout) mount() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := l.memory("", "mode=755"); err != nil {
		return err
	}
	for _, dir := range []string{"etc", "etc/ssl", "etc/ssl/certs", "proc", "dev", "run", "tmp", "var", "var/lib", "var/tmp", "home", "home/" + provider.User, "root", "workspace", "opt", control.BinaryDir, control.SocketDir} {
		if err := os.Mkdir(l.at(dir), 0o755); err != nil {
			return err
		}
	}
	steps := []func() error{l.programs, l.files, l.devices, func() error {
		return unix.Mount("proc", l.at("proc"), "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	}}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	err := errors.Join(l.bind(l.Program, control.Binary), l.bind(l.Home, provider.Home), l.bind(l.Workspace, provider.Workspace), os.Lchown(l.at(provider.Home), provider.UID, provider.UID))
	for name, socket := range l.Sockets {
		err = errors.Join(err, l.bind(socket, filepath.Join(control.SocketDir, name)))
	}
	return err
}

func (l layout) at(name string) string { return filepath.Join(l.Root, name) }

func (l layout) memory(name, options string) error {
	if err := unix.Mount("tmpfs", l.at(name), "tmpfs", unix.MS_NOSUID, options); err != nil {
		return fmt.Errorf("cannot mount memory at /%s: %w", name, err)
	}
	return nil
}

// bind makes something of the host's seen in the bottle.
func (l layout) bind(from, name string) error {
	to := l.at(name)
	info, err := os.Stat(from)
	if err == nil && !info.IsDir() {
		err = os.WriteFile(to, nil, 0o644)
	} else if err == nil {
		err = os.MkdirAll(to, 0o755)
	}
	if err == nil {
		err = unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, "")
	}
	if err != nil {
		return fmt.Errorf("cannot show %s in the bottle: %w", from, err)
	}
	return nil
}

// bindToRead is bind, for nobody to write to.
func (l layout) bindToRead(from, name string) error {
	if err := l.bind(from, name); err != nil {
		return err
	}
	return unix.MountSetattr(unix.AT_FDCWD, l.at(name), unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
}

// programs are the host's, but for /usr/local, which is the test's.
func (l layout) programs() error {
	for _, name := range []string{"usr", "bin", "sbin", "lib", "lib32", "lib64", "nix", "etc/alternatives", "etc/ld.so.cache"} {
		info, err := os.Lstat("/" + name)
		switch {
		case err != nil:
			continue // not every system has it
		case info.Mode()&os.ModeSymlink != 0:
			target, failed := os.Readlink("/" + name)
			err = errors.Join(failed, os.Symlink(target, l.at(name)))
		default:
			err = l.bindToRead("/"+name, name)
		}
		if err != nil {
			return err
		}
	}
	if err := l.memory("usr/local", "mode=755"); err != nil {
		return err
	}
	if err := os.MkdirAll(l.at("usr/local/share/ca-certificates"), 0o755); err != nil || l.Programs == "" {
		return err
	}
	return l.bindToRead(l.Programs, "usr/local/bin")
}

func (l layout) files() error {
	for name, text := range map[string]string{
		"passwd":      fmt.Sprintf("root:x:0:0::/root:/bin/sh\n%s:x:%d:%[2]d::%s:/bin/sh\n", provider.User, provider.UID, provider.Home),
		"group":       fmt.Sprintf("root:x:0:\n%s:x:%d:\n", provider.User, provider.UID),
		"hostname":    "bottle\n",
		"hosts":       "127.0.0.1 localhost\n",
		"resolv.conf": "nameserver 127.0.0.1\n",
	} {
		if err := os.WriteFile(l.at("etc/"+name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return errors.Join(os.Chmod(l.at("tmp"), 0o1777), os.Chmod(l.at("var/tmp"), 0o1777))
}

func (l layout) devices() error {
	for _, dir := range []string{"dev/pts", "dev/shm"} {
		if err := os.Mkdir(l.at(dir), 0o755); err != nil {
			return err
		}
	}
	err := errors.Join(os.Chmod(l.at("dev/shm"), 0o1777),
		unix.Mount("devpts", l.at("dev/pts"), "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"))
	for _, device := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		err = errors.Join(err, l.bind("/dev/"+device, "dev/"+device))
	}
	for link, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"} {
		err = errors.Join(err, os.Symlink(to, l.at("dev/"+link)))
	}
	return err
}

// loopback is the only interface, and is down in a new namespace.
func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}
