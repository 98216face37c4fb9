package bundle

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/audit"
)

// cgo says whether this binary has cgo in it, where one thread at a time is the most
// that Go can close off (see noNewPrivileges). What is shipped has not.
var cgo = func() bool {
	_, _, errno := syscall.AllThreadsSyscall(syscall.SYS_GETPID, 0, 0, 0)
	return errno == syscall.ENOTSUP
}()

// children lists this process's children.
func children(t *testing.T) []int {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, file := range files {
		data, _ := os.ReadFile(file)
		for field := range strings.FieldsSeq(string(data)) {
			pid, _ := strconv.Atoi(field)
			pids = append(pids, pid)
		}
	}
	return pids
}

// kill ends the one service that runs, as a crash would.
func kill(t *testing.T) {
	t.Helper()
	pids := children(t)
	if len(pids) != 1 {
		t.Fatalf("got children %v", pids)
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// Connections made while a service is down wait for the next one.
func TestACrashedServiceIsStartedAgain(t *testing.T) {
	r := launch(t, self(t), config(t))
	r.awaitReady(t)
	_ = r.lookup(t, "api.example")
	kill(t)
	var e audit.Event
	if line := r.line(t, &e); e.Kind != audit.Lifecycle || e.Service != "egress" || e.Bottle != "dev-abcdef" || strings.Contains(line, realKey) {
		t.Errorf("got %s", line)
	}
	if got := r.lookup(t, "api.example"); !strings.Contains(got, "true") { // waits in the socket's queue
		t.Errorf("got %s", got)
	}
}

// Attack C10: another process of the service's uid reads its memory or its environment,
// or waits for a core file.
func TestAttackC10_TheServiceIsClosedOff(t *testing.T) {
	r := launch(t, self(t), config(t))
	r.awaitReady(t)
	pids := children(t)
	if len(pids) != 1 {
		t.Fatalf("got children %v", pids)
	}
	proc := fmt.Sprintf("/proc/%d/", pids[0])
	tasks, err := filepath.Glob(proc + "task/*/status")
	if err != nil || len(tasks) == 0 {
		t.Errorf("got %v, %v", tasks, err)
	}
	closed := 0
	for _, task := range tasks {
		if status, err := os.ReadFile(task); err == nil && bytes.Contains(status, []byte("NoNewPrivs:\t1")) {
			closed++
		}
	}
	if closed == 0 || closed < len(tasks) && !cgo {
		t.Errorf("%d of its %d threads may gain privileges", len(tasks)-closed, len(tasks))
	}
	limits, err := os.ReadFile(proc + "limits")
	if err != nil || !strings.Contains(strings.Join(strings.Fields(string(limits)), " "), "Max core file size 0 0") {
		t.Errorf("it may leave a core file: %v", err)
	}
	if environment, err := os.ReadFile(proc + "environ"); err == nil && len(bytes.Trim(environment, "\x00")) > 0 {
		t.Errorf("its environment is %q", environment)
	}
}

// A stale socket of an earlier bundle is replaced.
func TestStaleSocketIsReplaced(t *testing.T) {
	dir, err := os.MkdirTemp("", "bundle")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "egress.sock")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	_ = stale.Close()
	file, err := listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}
