//go:build linux

package guest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bot-bottle/bot-bottle/internal/session"
	"github.com/bot-bottle/bot-bottle/test/need"
)

// The guest's ports are its own: the tests run in a network namespace that has nothing
// but loopback, as in a bottle.

const inside = "BOT_BOTTLE_TEST_NETNS"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "guest-dial" {
		os.Exit(guestDial(os.Args[2]))
	}
	if len(os.Args) > 2 && os.Args[1] == "guest-run" {
		os.Exit(guestRun(os.Args[2], os.Args[3:]))
	}
	if os.Getenv(inside) == "" {
		os.Exit(again())
	}
	if err := loopback(); err != nil {
		fmt.Println("cannot bring loopback up:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// again runs this test binary in a namespace of its own.
func again() int {
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Env = append(os.Environ(), inside+"=1")
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if os.Getuid() != 0 {
		c.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	err := c.Run()
	if exit := (*exec.ExitError)(nil); err == nil || errors.As(err, &exit) {
		return c.ProcessState.ExitCode()
	}
	return need.Status(need.Tools, fmt.Errorf("they need a network namespace: %w", err))
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

// guestDial says whether a session listens to who asks to look at it.
func guestDial(socket string) int {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		fmt.Print(err)
		return 0
	}
	if _, err := session.Watch(conn).Snapshot(context.Background()); err != nil {
		fmt.Print("refused")
	} else {
		fmt.Print("shown")
	}
	return 0
}

// guestRun is a process that is a guest; it shares the namespace.
func guestRun(dir string, argv []string) int {
	var terminal *Terminal
	if socket := os.Getenv("GUEST_TERMINAL"); socket != "" {
		terminal = &Terminal{Size: session.Size{Width: 80, Height: 24}, Socket: socket, Awaited: os.Getenv("GUEST_AWAITED") != "", Record: os.Stdout}
	}
	ctx := context.Background()
	if ms, err := strconv.Atoi(os.Getenv("GUEST_CANCEL_MS")); err == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(ms)*time.Millisecond)
		defer cancel()
	}
	code, err := Run(ctx, Options{Argv: argv, Dir: "/", SocketDir: dir, Log: slog.New(slog.DiscardHandler), Terminal: terminal})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		if code == 0 {
			code = 99
		}
	}
	return code
}

// runGuest runs a guest with an agent, to its end.
func runGuest(t *testing.T, env []string, argv ...string) (code int, out string) {
	t.Helper()
	c := exec.Command("/proc/self/exe", append([]string{"guest-run", t.TempDir()}, argv...)...)
	c.Env = append(os.Environ(), env...)
	data, err := c.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), string(data)
}

// socketDir is a directory whose name is short enough for a socket.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "g")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// up listens as a guest does, until the test ends.
func up(t *testing.T, dir string) {
	t.Helper()
	ls, err := listen(t.Context(), dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ls.close)
}

// resolve asks the guest's DNS, whatever this machine's own resolver is.
func resolve(t *testing.T, name string) ([]string, error) {
	t.Helper()
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, dnsAddress)
	}}
	return r.LookupHost(t.Context(), name+".")
}

func socketPath(dir, service string) string { return filepath.Join(dir, service+".sock") }

func hasPrefix(all []string, prefix string) bool {
	return len(all) == 1 && strings.HasPrefix(all[0], prefix)
}
