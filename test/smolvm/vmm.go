//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// inner are the parts that only the stand-in itself starts.
func inner(args []string) int {
	parts := map[string]func() error{"_vmm": vmm, "_agent": agent, "_container": container}
	part, ok := parts[args[0]]
	if !ok {
		return 2
	}
	if err := part(); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "%s: %v\n", args[0], err)
		return 1
	}
	return 0
}

const readyFD = 3

// guestRoot is where a machine's file system is, in its own mount namespace.
const guestRoot = "/mnt"

// vmm is a machine's process on the host: it stands where the hypervisor does, and carries
// connections to mounted sockets across.
func vmm() error {
	ready := os.NewFile(readyFD, "ready")
	defer func() { _ = ready.Close() }()
	err := runVMM(ready)
	if err != nil {
		_, _ = fmt.Fprintln(ready, err)
	}
	return err
}

func runVMM(ready *os.File) error {
	runtime.LockOSThread() // the machine dies with the thread that made it
	var b begin
	line, err := bufio.NewReader(os.Stdin).ReadBytes('\n')
	if err := errors.Join(err, json.Unmarshal(line, &b)); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(b.Dir, "vmm.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }() // held until then: a file that nothing refers to any more is closed by the collector
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("it runs already: %w", err)
	}
	if err := os.WriteFile(filepath.Join(b.Dir, "agent.pid"), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		return err
	}
	if err := mountDisk(b); err != nil {
		return err
	}
	if err := serveSockets(b); err != nil {
		return err
	}
	listener, err := agentListener(b.Dir)
	if err != nil {
		return err
	}
	c, tell, err := startAgent(listener, ready)
	if err != nil {
		return err
	}
	limit(b, c.Process.Pid)
	defer unlimit(b.Dir)
	if _, err := tell.Write(line); err != nil {
		return err
	}
	_ = tell.Close()
	_ = ready.Close()
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	ended := make(chan struct{})
	go func() { _ = c.Wait(); close(ended) }()
	select {
	case <-asked:
		_ = c.Process.Kill() // init of its pid namespace: all in it goes
		<-ended
		return nil
	case <-ended:
		return fmt.Errorf("the machine ended by itself: %s%s", c.ProcessState, outOfMemory(b.Dir))
	}
}

func agentListener(dir string) (*os.File, error) {
	path := filepath.Join(dir, "agent.sock")
	_ = os.Remove(path)
	if len(path) > 107 {
		return nil, fmt.Errorf("socket path too long: %s", path)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	return l.File()
}

func startAgent(listener, ready *os.File) (*exec.Cmd, *os.File, error) {
	told, tell, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	c := exec.Command("/proc/self/exe", "_agent")
	c.Stdin, c.Stdout, c.Stderr = told, os.Stdout, os.Stderr
	c.ExtraFiles = []*os.File{ready, listener}
	c.Dir, c.Env = "/", []string{}
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: firstID, Size: idCount}}
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true, Credential: &syscall.Credential{}, Pdeathsig: syscall.SIGKILL,
	}
	err = c.Start()
	_ = told.Close()
	return c, tell, err
}

// mountDisk puts the machine's file system together: its disk over the image, and what is
// made anew at each start.
func mountDisk(b begin) error {
	upper, work, storage := filepath.Join(b.Dir, "upper"), filepath.Join(b.Dir, "work"), filepath.Join(b.Dir, "storage")
	for _, dir := range []string{upper, work, storage, filepath.Join(storage, "workspace")} { // of a machine that starts again, they are whose they have become
		if err := makeDir(dir); err != nil {
			return err
		}
	}
	if err := unix.Mount("overlay", guestRoot, "overlay", 0, "lowerdir="+b.Rootfs+",upperdir="+upper+",workdir="+work); err != nil {
		return fmt.Errorf("overlay: %w", err)
	}
	owner := fmt.Sprintf("uid=%d,gid=%d", firstID, firstID)
	for _, m := range []struct {
		at, options string
		flags       uintptr
	}{
		{"/tmp", "mode=1777," + owner, unix.MS_NOSUID | unix.MS_NODEV}, {"/run", "mode=755,size=64m," + owner, unix.MS_NOSUID | unix.MS_NODEV},
		{"/dev", "mode=755,size=64k," + owner, unix.MS_NOSUID}, {"/dev/shm", "mode=1777,size=64m," + owner, unix.MS_NOSUID | unix.MS_NODEV},
	} {
		if err := makeDir(guestRoot + m.at); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", guestRoot+m.at, "tmpfs", m.flags, m.options); err != nil {
			return fmt.Errorf("%s: %w", m.at, err)
		}
	}
	for _, dir := range []string{"/dev/pts", "/proc", "/sys", "/run/lock", "/workspace"} {
		if err := makeDir(guestRoot + dir); err != nil {
			return err
		}
	}
	for _, device := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		if err := bind("/dev/"+device, guestRoot+"/dev/"+device); err != nil {
			return err
		}
	}
	for link, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx"} {
		if err := os.Symlink(to, guestRoot+"/dev/"+link); err != nil {
			return err
		}
	}
	return bind(filepath.Join(storage, "workspace"), guestRoot+"/workspace")
}

func makeDir(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	return errors.Join(err, os.Lchown(dir, firstID, firstID))
}

func bind(from, to string) error {
	if info, err := os.Stat(from); err != nil {
		return err
	} else if !info.IsDir() {
		if err := makeDir(filepath.Dir(to)); err != nil {
			return err
		}
		if err := os.WriteFile(to, nil, 0o666); err != nil {
			return err
		}
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("%s: %w", to, err)
	}
	return nil
}

// serveSockets listens at a path of the machine's own for each mounted socket, and binds that
// into the guest. The host's side is dialled when the guest connects, and not before.
func serveSockets(b begin) error {
	dir := filepath.Join(b.Dir, "published-sockets")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		return err
	}
	for i, s := range b.Machine.Sockets {
		path := filepath.Join(dir, fmt.Sprintf("%d.sock", 6100+i))
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			return err
		}
		if err := os.Chmod(path, 0o777); err != nil {
			return err
		}
		if err := bind(path, guestRoot+s.Guest); err != nil {
			return err
		}
		go accept(l, s.Host)
	}
	return nil
}

func accept(l *net.UnixListener, host string) {
	for {
		guest, err := l.AcceptUnix()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = guest.Close() }()
			conn, err := net.Dial("unix", host)
			if err != nil {
				fmt.Printf("WARN published socket: connect %s: %v\n", host, err)
				return
			}
			defer func() { _ = conn.Close() }()
			done := make(chan struct{})
			go func() { defer close(done); half(conn.(*net.UnixConn), guest) }()
			half(guest, conn.(*net.UnixConn))
			<-done
		}()
	}
}

func half(to, from *net.UnixConn) {
	if _, err := io.Copy(to, from); err != nil || to.CloseWrite() != nil {
		_, _ = to.Close(), from.Close()
	}
}

// cgroups are where a machine's limits may be, on a host with the first and the second version.
func cgroups(dir string) (memory, unified, cpu string) {
	name := "smolvm-" + filepath.Base(dir)
	return filepath.Join("/sys/fs/cgroup/memory", name), filepath.Join("/sys/fs/cgroup", name), filepath.Join("/sys/fs/cgroup/cpu", name)
}

// limit bounds the guest's memory and processors, where this host's cgroups let us.
func limit(b begin, pid int) {
	put := func(dir, file, value string) bool {
		if os.Mkdir(dir, 0o755) != nil && !isDir(dir) {
			return false
		}
		return os.WriteFile(filepath.Join(dir, file), []byte(value), 0o644) == nil && os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644) == nil
	}
	memory, unified, cpu := cgroups(b.Dir)
	most := strconv.Itoa(b.Machine.Memory << 20)
	if !put(memory, "memory.limit_in_bytes", most) {
		put(unified, "memory.max", most)
	}
	put(cpu, "cpu.cfs_quota_us", strconv.Itoa(b.Machine.CPUs*100000))
}

// unlimit removes what limit made, once nothing is in it.
func unlimit(dir string) {
	memory, unified, cpu := cgroups(dir)
	for _, group := range []string{memory, unified, cpu} {
		_ = os.Remove(group)
	}
}

// outOfMemory says so if something in the machine was killed for want of it.
func outOfMemory(dir string) string {
	memory, unified, _ := cgroups(dir)
	for _, file := range []string{filepath.Join(memory, "memory.oom_control"), filepath.Join(unified, "memory.events")} {
		counts, _ := os.ReadFile(file)
		for line := range strings.Lines(string(counts)) {
			if count, ok := strings.CutPrefix(line, "oom_kill "); ok && strings.TrimSpace(count) != "0" {
				return ", and its memory had run out"
			}
		}
	}
	return ""
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
