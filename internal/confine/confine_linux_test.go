package confine

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bot-bottle/bot-bottle/test/need"
)

// What is taken away is taken from a process for good, so each test confines a child: this program
// again, which tries things and prints which it was refused.

const childEnv = "CONFINE_CHILD"

// trial is what a child is to become, and where it looks for files.
type trial struct {
	Service Service
	Become  *Become // it is this program, as another user, that tries
	Dirs    map[string]string
}

func TestMain(m *testing.M) {
	if told := os.Getenv(childEnv); told != "" {
		_ = os.Unsetenv(childEnv) // what a child starts tries nothing itself
		if err := tryAll(told); err != nil {
			_, _ = os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func tryAll(told string) error {
	var t trial
	if err := json.Unmarshal([]byte(told), &t); err != nil {
		return err
	}
	if b := t.Become; b != nil {
		t.Become = nil
		b.Filter = Agent()
		next, err := json.Marshal(trial{Dirs: map[string]string{"became": "yes"}})
		if err != nil {
			return err
		}
		return b.Exec("/proc/self/exe", []string{"confined"}, []string{childEnv + "=" + string(next)})
	}
	if t.Dirs["became"] == "" {
		if err := t.Service.Apply(); err != nil {
			return err
		}
	}
	got := map[string]string{}
	for name, try := range attempts(t.Dirs) {
		got[name] = "works"
		if err := try(); errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
			got[name] = "refused"
		} else if err != nil {
			got[name] = err.Error()
		}
	}
	return json.NewEncoder(os.Stdout).Encode(got)
}

func socketOf(family, kind, protocol int) func() error {
	return func() error {
		fd, err := unix.Socket(family, kind, protocol)
		if err == nil {
			_ = unix.Close(fd)
		}
		return err
	}
}

// call makes a system call with arguments that cannot do harm: what is not refused fails for another
// reason, or does nothing.
func call(number uintptr) func() error {
	return func() error {
		if _, _, errno := unix.Syscall(number, 0, 0, 0); errno != 0 && (errno == unix.EPERM || errno == unix.EACCES) {
			return errno
		}
		return nil
	}
}

func cloned(flags uintptr) func() error {
	return func() error {
		c := exec.Command("/proc/self/exe", "-test.list", "^$")
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
		return c.Run()
	}
}

// onThreads starts a command on one thread and ends it on another.
func onThreads(c *exec.Cmd) error {
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		started <- c.Start()
		<-ended
		runtime.UnlockOSThread()
	}()
	defer close(ended)
	if err := <-started; err != nil {
		return err
	}
	signalled := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		signalled <- c.Process.Signal(syscall.SIGKILL)
	}()
	err := <-signalled
	_ = c.Wait()
	return err
}

func attempts(dirs map[string]string) map[string]func() error {
	all := map[string]func() error{
		"unix": socketOf(unix.AF_UNIX, unix.SOCK_STREAM, 0), "inet": socketOf(unix.AF_INET, unix.SOCK_STREAM, 0), "inet6": socketOf(unix.AF_INET6, unix.SOCK_DGRAM, 0),
		"vsock": socketOf(unix.AF_VSOCK, unix.SOCK_STREAM, 0), "packet": socketOf(unix.AF_PACKET, unix.SOCK_RAW, 0), "alg": socketOf(unix.AF_ALG, unix.SOCK_SEQPACKET, 0),
		"route": socketOf(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE), "audit": socketOf(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT),
		"unshare": call(unix.SYS_UNSHARE), "io_uring": call(unix.SYS_IO_URING_SETUP), "keyctl": call(unix.SYS_KEYCTL), "bpf": call(unix.SYS_BPF),
		"ptrace": func() error { // of nobody: a request of 0 would have our parent trace us
			_, _, errno := unix.Syscall(unix.SYS_PTRACE, unix.PTRACE_PEEKUSR, 0, 0)
			if errno == unix.EPERM {
				return errno
			}
			return nil
		},
		"process_vm_readv": call(unix.SYS_PROCESS_VM_READV),
		"user namespace":   cloned(unix.CLONE_NEWUSER), "pid namespace": cloned(unix.CLONE_NEWPID),
		"run": func() error { return exec.Command("/proc/self/exe", "-test.list", "^$").Run() },
		"end": func() error { return onThreads(exec.Command("/proc/self/exe", "-test.list", "^$")) },
		"a GiB": func() error {
			data, err := unix.Mmap(-1, 0, 1<<30, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE) // of which nothing is touched
			if err == nil {
				err = unix.Munmap(data)
			}
			return err
		},
		"listen": func() error {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err == nil {
				err = l.Close()
			}
			return err
		},
	}
	for name, dir := range dirs {
		if !filepath.IsAbs(dir) {
			continue
		}
		all["read "+name] = func() error { _, err := os.ReadFile(filepath.Join(dir, "file")); return err }
		all["change "+name] = func() error {
			f, err := os.OpenFile(filepath.Join(dir, "file"), os.O_WRONLY, 0)
			if err == nil {
				err = f.Close()
			}
			return err
		}
		all["write "+name] = func() error { return os.WriteFile(filepath.Join(dir, "new"), nil, 0o600) }
		all["remove "+name] = func() error { return os.Remove(filepath.Join(dir, "old")) }
	}
	return all
}

// confined runs a trial in a child, and returns what became of each attempt.
func confined(t *testing.T, told trial) map[string]string {
	t.Helper()
	text, err := json.Marshal(told)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "/proc/self/exe")
	c.Env = []string{childEnv + "=" + string(text)}
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	got := map[string]string{}
	if err := errors.Join(err, json.Unmarshal(out, &got)); err != nil {
		t.Fatalf("%v: %s%s", err, out, stderr.String())
	}
	return got
}

func wantAll(t *testing.T, got map[string]string, outcome string, names ...string) {
	t.Helper()
	for _, name := range names {
		if got[name] != outcome {
			t.Errorf("%s: got %q, want %q", name, got[name], outcome)
		}
	}
}

// dirs are directories with two files each.
func dirs(t *testing.T, names ...string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range names {
		all[name] = t.TempDir()
		for _, file := range []string{"file", "old"} {
			if err := os.WriteFile(filepath.Join(all[name], file), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return all
}

// A service that may do nothing listens and dials, and that is all: no unix socket, no program, no
// process of another's, nothing that opens the kernel up.
func TestAServiceKeepsItsNetwork(t *testing.T) {
	got := confined(t, trial{Service: Service{Read: programs(t)}})
	wantAll(t, got, "works", "inet", "inet6", "route", "listen")
	wantAll(t, got, "refused", "unix", "vsock", "packet", "alg", "audit", "unshare", "io_uring", "keyctl", "bpf", "ptrace", "process_vm_readv", "user namespace", "pid namespace", "run")
}

// What has a limit of memory gets no more, and neither does what it starts.
func TestAServiceHasItsMemory(t *testing.T) {
	limited := confined(t, trial{Service: Service{Runs: true, Read: programs(t), Memory: 768 << 20}})
	wantAll(t, limited, unix.ENOMEM.Error(), "a GiB")
	wantAll(t, limited, "works", "listen", "run")
	wantAll(t, confined(t, trial{Service: Service{Read: programs(t)}}), "works", "a GiB")
}

// What may run programs and make unix sockets does that, and no more.
func TestAServiceThatRunsPrograms(t *testing.T) {
	got := confined(t, trial{Service: Service{Runs: true, Local: true, Read: programs(t)}})
	wantAll(t, got, "works", "unix", "inet", "run", "end")
	wantAll(t, got, "refused", "vsock", "packet", "audit", "ptrace", "unshare", "user namespace")
}

// programs are where this one is, and what it is linked with.
func programs(t *testing.T) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{filepath.Dir(self), "/proc", "/lib", "/lib64", "/usr/lib"}
}

// A service sees the files that it is given, as it is given them, and no others.
func TestAServiceSeesItsFiles(t *testing.T) {
	if version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION); errno != 0 {
		need.Lacking(t, need.Tools, fmt.Sprintf("a kernel with Landlock: %v, %d", errno, version))
	}
	at := dirs(t, "to read", "to write", "of one file", "else")
	got := confined(t, trial{Service: Service{Read: []string{at["to read"], filepath.Join(at["to read"], "missing"), filepath.Join(at["of one file"], "file")}, Write: []string{at["to write"]}}, Dirs: at})
	wantAll(t, got, "works", "read to read", "read of one file", "read to write", "change to write", "write to write", "remove to write")
	wantAll(t, got, "refused", "write to read", "change to read", "remove to read", "change of one file", "write of one file", "remove of one file", "read else", "write else", "remove else")
}

// What an agent runs has the families that a bottle has, may run and trace what is its own, and makes
// no namespace. Exec has read back from the kernel that it has no capability, or it would not run.
func TestAnAgentIsConfined(t *testing.T) {
	if os.Geteuid() != 0 {
		need.Lacking(t, need.Smolvm, "only root becomes another user")
	}
	got := confined(t, trial{Become: &Become{UID: 65534, NProc: 64}})
	wantAll(t, got, "works", "unix", "inet", "inet6", "route", "listen")
	wantAll(t, got, "refused", "vsock", "packet", "alg", "audit", "unshare", "io_uring", "keyctl", "bpf", "user namespace", "pid namespace")
}
