//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// guest is the agent in a machine: it runs the workload, and commands beside it.
type guest struct {
	begin begin

	mu   sync.Mutex
	init *exec.Cmd // the container's process 1
	gone chan struct{}
}

// atOnce is how many connections the agent serves.
const atOnce = 8

// agent is init of the machine's own pid namespace.
func agent() error {
	ready, socket := os.NewFile(readyFD, "ready"), os.NewFile(readyFD+1, "socket")
	g := &guest{}
	line, err := bufio.NewReader(os.Stdin).ReadBytes('\n')
	if err := errors.Join(err, json.Unmarshal(line, &g.begin)); err != nil {
		return err
	}
	listener, err := net.FileListener(socket)
	if err != nil {
		return err
	}
	if err := loopback(); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	if command := g.workload(); len(command) > 0 {
		if err := g.run(command); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(ready, "ready\n"); err != nil {
		return err
	}
	_ = ready.Close()
	slots := make(chan struct{}, atOnce)
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			g.serve(conn.(*net.UnixConn))
		}()
	}
}

// loopback is up, as libkrun's init has it.
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
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// workload is what create was given, else what the image says.
func (g *guest) workload() []string {
	if len(g.begin.Machine.Command) > 0 {
		return g.begin.Machine.Command
	}
	return append(append([]string{}, g.begin.Image.Config.Entrypoint...), g.begin.Image.Config.Cmd...)
}

// run starts the container with a command as its process 1.
func (g *guest) run(command []string) error {
	uid, gid, home := g.user()
	told, err := json.Marshal(order{Argv: command, Env: g.env(nil, home), Dir: g.dir(""), UID: uid, GID: gid, Hostname: g.begin.Machine.Name})
	if err != nil {
		return err
	}
	up, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	c := exec.Command("/proc/self/exe", "_container")
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(string(told)+"\n"), os.Stdout, os.Stderr
	c.ExtraFiles = []*os.File{theirs}
	c.Env = []string{}
	// No parent's death signal: it would come when the thread that starts this ends, and threads
	// that have joined the container do. It ends with us, who are init of its parent namespace.
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC}
	if err := c.Start(); err != nil {
		return err
	}
	_ = theirs.Close()
	if line, _ := io.ReadAll(up); string(line) != "up" { // closed by execve
		return fmt.Errorf("container: %s", line)
	}
	g.init, g.gone = c, make(chan struct{})
	gone := g.gone
	go func() {
		_ = c.Wait()
		fmt.Printf("WARN the workload ended: %s\n", c.ProcessState)
		close(gone)
	}()
	return nil
}

// ensure makes a container that only waits, where there is none any more.
func (g *guest) ensure() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.init != nil {
		select {
		case <-g.gone:
		default:
			return nil
		}
	}
	return g.run([]string{"sleep", "infinity"})
}

// container becomes the workload, once its file system is in place.
func container() error {
	up := os.NewFile(readyFD, "up")
	unix.CloseOnExec(readyFD)
	err := enter(up)
	_, _ = fmt.Fprint(up, err)
	return err
}

func enter(up *os.File) error {
	var o order
	line, err := bufio.NewReader(os.Stdin).ReadBytes('\n')
	if err := errors.Join(err, json.Unmarshal(line, &o)); err != nil {
		return err
	}
	// A mount that came with the namespace cannot be the root, a copy of it can.
	if err := unix.Mount(guestRoot, guestRoot, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	for _, m := range []struct {
		kind, at, options string
		flags             uintptr
	}{
		{"proc", "/proc", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"sysfs", "/sys", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RDONLY},
		{"devpts", "/dev/pts", "newinstance,ptmxmode=0666,mode=0620,gid=5", unix.MS_NOSUID | unix.MS_NOEXEC},
	} {
		if err := unix.Mount(m.kind, guestRoot+m.at, m.kind, m.flags, m.options); err != nil {
			return fmt.Errorf("%s: %w", m.at, err)
		}
	}
	if err := errors.Join(os.Chdir(guestRoot), unix.PivotRoot(".", "."), unix.Unmount(".", unix.MNT_DETACH), os.Chdir("/")); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(o.Hostname)); err != nil {
		return err
	}
	if err := os.Chdir(o.Dir); err != nil {
		return err
	}
	if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(o.GID), syscall.Setuid(o.UID)); err != nil {
		return err
	}
	path, err := lookPath(o.Argv[0], o.Env)
	if err != nil {
		return err
	}
	null, err := os.Open("/dev/null")
	if err != nil {
		return err
	}
	if err := unix.Dup2(int(null.Fd()), 0); err != nil {
		return err
	}
	_, _ = io.WriteString(up, "up")
	return syscall.Exec(path, o.Argv, o.Env)
}

// lookPath looks a command up in the file system that the calling thread sees.
func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, v := range env {
		if dirs, ok := strings.CutPrefix(v, "PATH="); ok {
			for dir := range strings.SplitSeq(dirs, ":") {
				if unix.Access(filepath.Join(dir, name), unix.X_OK) == nil {
					return filepath.Join(dir, name), nil
				}
			}
		}
	}
	return "", fmt.Errorf("executable file `%s` not found in $PATH", name)
}

// user is the image's: uid, gid, and home by /etc/passwd.
func (g *guest) user() (uid, gid int, home string) {
	name, group, _ := strings.Cut(g.begin.Image.Config.User, ":")
	if name == "" {
		name = "0"
	}
	home = "/"
	passwd, _ := os.ReadFile(guestRoot + "/etc/passwd")
	uid, err := strconv.Atoi(name)
	for line := range strings.Lines(string(passwd)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) > 5 && (f[0] == name || err == nil && f[2] == name) {
			uid, _ = strconv.Atoi(f[2])
			gid, _ = strconv.Atoi(f[3])
			home = f[5]
		}
	}
	if n, err := strconv.Atoi(group); err == nil {
		gid = n
	}
	return uid, gid, home
}

// env is the image's, then the machine's, then what is given.
func (g *guest) env(given []string, home string) []string {
	all, order := map[string]string{"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": home}, []string{"PATH", "HOME"}
	for _, list := range [][]string{g.begin.Image.Config.Env, g.begin.Machine.Env, given} {
		for _, v := range list {
			name, value, _ := strings.Cut(v, "=")
			if _, known := all[name]; !known {
				order = append(order, name)
			}
			all[name] = value
		}
	}
	var env []string
	for _, name := range order {
		env = append(env, name+"="+all[name])
	}
	return env
}

func (g *guest) dir(given string) string {
	for _, dir := range []string{given, g.begin.Machine.Workdir, g.begin.Image.Config.WorkingDir} {
		if dir != "" {
			return dir
		}
	}
	return "/"
}

// join has the calling thread see the container's file system, and its children be in the
// container. The goroutine must have locked its thread, and never unlock it.
func (g *guest) join() error {
	if err := g.ensure(); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil { // setns(2) wants a file system of the thread's own
		return err
	}
	for name, kind := range map[string]int{"uts": unix.CLONE_NEWUTS, "ipc": unix.CLONE_NEWIPC, "pid": unix.CLONE_NEWPID} {
		if err := g.setns(name, kind); err != nil {
			return err
		}
	}
	return g.setns("mnt", unix.CLONE_NEWNS) // last: the others' files are seen from here
}

func (g *guest) setns(name string, kind int) error {
	pid, err := hostPID(g.init)
	if err != nil {
		return err
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, name))
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }()
	return unix.Setns(int(ns.Fd()), kind)
}

// hostPID is a child's number in the /proc at hand, which is the host's.
func hostPID(c *exec.Cmd) (int, error) {
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return 0, err
	}
	for _, task := range entries {
		data, err := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		if err != nil {
			continue
		}
		for _, field := range strings.Fields(string(data)) {
			status, err := os.ReadFile("/proc/" + field + "/status")
			if err == nil && nspid(string(status), c.Process.Pid) {
				return strconv.Atoi(field)
			}
		}
	}
	return 0, errors.New("the container is gone")
}

// nspid reports whether a process is known as pid in our namespace: the one before its own.
func nspid(status string, pid int) bool {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, "NSpid:"); ok {
			ids := strings.Fields(rest)
			return len(ids) >= 2 && ids[len(ids)-2] == strconv.Itoa(pid)
		}
	}
	return false
}

// serve answers one connection.
func (g *guest) serve(conn *net.UnixConn) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	line, err := in.ReadBytes('\n')
	var o order
	if err != nil || json.Unmarshal(line, &o) != nil {
		return
	}
	out := &frames{w: conn}
	switch o.Op {
	case "ping":
		out.exit(0)
	case "exec":
		g.exec(o, in, out)
	case "cp-in", "cp-out":
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // never unlocked: the thread ends with this
			err := g.join()
			if err == nil {
				err = move(o, in, out)
			}
			done <- err
		}()
		if err := <-done; err != nil {
			out.fail(err)
			return
		}
		out.exit(0)
	}
}

// exec runs a command beside the workload.
func (g *guest) exec(o order, in *bufio.Reader, out *frames) {
	uid, gid, home := g.user()
	env := g.env(o.Env, home)
	if o.TTY {
		env = g.env(append([]string{"TERM=xterm-256color"}, o.Env...), home)
	}
	c := &exec.Cmd{Args: o.Argv, Env: env, Dir: g.dir(o.Dir)}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), Groups: []uint32{}}}
	started := make(chan started)
	go func() {
		runtime.LockOSThread()
		s := g.begin0(c, o)
		started <- s
		if s.err == nil { // a child dies with the thread that made it, should it ask for that
			<-s.over
		}
	}()
	s := <-started
	if s.err != nil {
		out.fail(s.err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var timedOut bool
	if o.Timeout > 0 {
		timer := time.AfterFunc(o.Timeout, func() { timedOut = true; _ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) })
		defer timer.Stop()
	}
	go func() { // the end of the client's side is the end of the command
		s.feed(in)
		if ctx.Err() == nil {
			_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
			_ = c.Process.Kill()
		}
	}()
	var copies sync.WaitGroup
	for r, kind := range s.outputs {
		copies.Go(func() { out.copy(kind, r) })
	}
	state, _ := c.Process.Wait()
	close(s.over)
	cancel()
	ended := time.AfterFunc(500*time.Millisecond, func() { // what its children still hold open
		for r := range s.outputs {
			_ = r.Close()
		}
	})
	copies.Wait()
	ended.Stop()
	if timedOut {
		out.timeout(o.Timeout)
		return
	}
	code := state.ExitCode()
	if ws := state.Sys().(syscall.WaitStatus); ws.Signaled() {
		code = 128 + int(ws.Signal())
	}
	out.exit(code)
}

// started is a command with our ends of its streams.
type started struct {
	stdin   io.WriteCloser
	master  *os.File
	outputs map[*os.File]byte
	over    chan struct{}
	err     error
}

func (g *guest) begin0(c *exec.Cmd, o order) (s started) {
	s.over = make(chan struct{})
	if s.err = g.join(); s.err != nil {
		return s
	}
	if c.Path, s.err = lookPath(o.Argv[0], c.Env); s.err != nil {
		return s
	}
	if o.TTY {
		return g.onTerminal(c, o, s)
	}
	var theirs []*os.File
	pipe := func(kind byte) *os.File {
		r, w, err := os.Pipe()
		s.err = errors.Join(s.err, err)
		theirs = append(theirs, w)
		s.outputs[r] = kind
		return w
	}
	s.outputs = map[*os.File]byte{}
	c.Stdout, c.Stderr = pipe(frameOut), pipe(frameErr)
	if o.Interactive {
		r, w, err := os.Pipe()
		s.err = errors.Join(s.err, err)
		c.Stdin, s.stdin = r, w
		theirs = append(theirs, r)
	}
	if s.err == nil {
		s.err = c.Start()
	}
	for _, f := range theirs {
		_ = f.Close()
	}
	return s
}

func (g *guest) onTerminal(c *exec.Cmd, o order, s started) started {
	master, err := os.OpenFile("/dev/pts/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		s.err = err
		return s
	}
	var unlock int32
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, master.Fd(), unix.TIOCSPTLCK, uintptr(unsafe.Pointer(&unlock)))
	fd, _, errno2 := unix.Syscall(unix.SYS_IOCTL, master.Fd(), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY)
	if errno != 0 || errno2 != 0 {
		s.err = fmt.Errorf("terminal: %v, %v", errno, errno2)
		return s
	}
	slave := os.NewFile(fd, "slave")
	defer func() { _ = slave.Close() }()
	_ = pty.Setsize(master, &pty.Winsize{Rows: o.Rows, Cols: o.Cols})
	c.Stdin, c.Stdout, c.Stderr = slave, slave, slave
	c.SysProcAttr.Setctty = true
	s.master, s.stdin, s.outputs = master, master, map[*os.File]byte{master: frameOut}
	s.err = c.Start()
	return s
}

// feed passes the client's frames on until it goes.
func (s started) feed(in *bufio.Reader) {
	for {
		kind, data, err := readFrame(in)
		if err != nil {
			return
		}
		switch {
		case kind == frameIn && s.stdin != nil:
			_, _ = s.stdin.Write(data)
		case kind == frameInEnd && s.stdin != nil && s.master == nil:
			_ = s.stdin.Close()
		case kind == frameSize && s.master != nil:
			var size pty.Winsize
			if json.Unmarshal(data, &size) == nil {
				_ = pty.Setsize(s.master, &size)
			}
		}
	}
}

// move copies a file in or out, seen from the container.
func move(o order, in *bufio.Reader, out *frames) error {
	if o.Op == "cp-out" {
		f, err := os.Open(o.Path)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
			return fmt.Errorf("cp: %s is not a regular file", o.Path)
		}
		out.copy(frameOut, f)
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(o.Path), ".cp-*")
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for {
		kind, data, err := readFrame(in)
		if err != nil {
			return err
		}
		if kind == frameInEnd {
			break
		}
		if _, err := f.Write(data); err != nil {
			return err
		}
	}
	return errors.Join(f.Chmod(os.FileMode(o.Mode)), f.Chown(o.UID, o.GID), os.Rename(f.Name(), o.Path))
}
