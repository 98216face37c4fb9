package gitgate

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
)

// envGate makes this test's program a gate: it names a directory, standard input is the
// configuration, descriptor 3 the listener and 4 the link, as a bundle hands them over.
const envGate = "BOT_BOTTLE_TEST_GATE"

// runAsGate is a gate in a process of its own, which can be killed.
func runAsGate(dir string) int {
	var config control.GitConfig
	err := json.NewDecoder(os.Stdin).Decode(&config)
	if err == nil {
		err = serveAsGate(dir, config)
	}
	fmt.Fprintln(os.Stderr, "the gate ended:", err)
	return 1
}

func serveAsGate(dir string, config control.GitConfig) error {
	listener, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return err
	}
	link, err := net.FileConn(os.NewFile(4, "link"))
	if err != nil {
		return err
	}
	server, err := New(config, Options{
		Dir: filepath.Join(dir, "gate"), Keys: filepath.Join(dir, "keys"), Self: os.Getenv(envGate + "_SELF"),
		Events: audit.NewWriter(os.Stdout), Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Holder: control.NewHolderClient(link),
	})
	if err != nil {
		return err
	}
	return server.Serve(context.Background(), listener)
}

// victim is a lab's gate as a process. Its listener outlives it, as a bottle's does.
type victim struct {
	*lab
	listener *os.File
	self     string // what git runs as its hook
	process  *exec.Cmd
	stopDesk context.CancelFunc
}

// newVictim puts a process in the place of the lab's gate.
func newVictim(l *lab) *victim {
	l.t.Helper()
	l.stop()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		l.t.Fatal(err)
	}
	file, err := tcp.(*net.TCPListener).File()
	if err != nil {
		l.t.Fatal(err)
	}
	l.root = "http://" + tcp.Addr().String()
	l.url = l.root + "/widget.git"
	_ = tcp.Close() // the file is another descriptor of it
	v := &victim{lab: l, listener: file, self: binary}
	v.begin()
	l.t.Cleanup(func() { v.kill(); _ = file.Close() })
	return v
}

// begin starts it.
func (v *victim) begin() {
	v.t.Helper()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		v.t.Fatal(err)
	}
	syscall.CloseOnExec(pair[0])
	syscall.CloseOnExec(pair[1])
	ours, theirs := os.NewFile(uintptr(pair[0]), "desk"), os.NewFile(uintptr(pair[1]), "link")
	conn, err := net.FileConn(ours)
	if err != nil {
		v.t.Fatal(err)
	}
	_ = ours.Close()
	var ctx context.Context
	ctx, v.stopDesk = context.WithCancel(context.Background())
	go control.ServeHolder(ctx, conn, v.desk)
	config, err := json.Marshal(v.config)
	if err != nil {
		v.t.Fatal(err)
	}
	v.process = exec.Command(os.Args[0])
	v.process.Env = append(os.Environ(), envGate+"="+v.dir, envGate+"_SELF="+v.self)
	v.process.ExtraFiles = []*os.File{v.listener, theirs}
	v.process.Stdin, v.process.Stdout = strings.NewReader(string(config)), v.events
	v.process.Stderr = v.t.Output()
	if err := v.process.Start(); err != nil {
		v.t.Fatal(err)
	}
	_ = theirs.Close()
}

// kill ends it as nothing can be prepared for.
func (v *victim) kill() {
	v.stopDesk()
	_ = v.process.Process.Kill()
	_ = v.process.Wait()
}

// sound fails the test if a repository is not whole, or if something was left in the mirror
// that the next gate does not clear away.
func (v *victim) sound() {
	v.t.Helper()
	mirror := filepath.Join(v.dir, "gate", "widget.git")
	for _, dir := range []string{v.upstream, mirror} {
		if out, err := v.try(dir, "fsck", "--full", "--strict"); err != nil {
			v.t.Errorf("%s is not whole: %s", filepath.Base(dir), out)
		}
	}
	for _, glob := range []string{"*.lock", "refs/heads/*.lock", "refs/heads/*/*.lock", "objects/tmp_objdir-*", "objects/pack/tmp_*"} {
		if left, _ := filepath.Glob(filepath.Join(mirror, glob)); len(left) > 0 {
			v.t.Errorf("left behind: %v", left)
		}
	}
}
