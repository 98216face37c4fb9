package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// OnHost is where a bundle is that runs as processes of its host. All are absolute paths.
type OnHost struct {
	Dir     string // of the sockets: the operator's own, 0700
	Audit   string // the file that the audit log is appended to
	GitDir  string
	GitKeys string
}

// Names in OnHost.Dir.
const (
	HostControl = "control.sock" // the control API
	HostErrors  = "errors"       // the last of what the bundle and its services complained of
)

// RunOnHost runs a bundle that outlives whoever started it: its ready line goes to stdout, its
// audit log to the file, and its complaints to another.
func RunOnHost(ctx context.Context, h OnHost, stdin io.Reader, stdout io.Writer) error {
	log, err := os.OpenFile(h.Audit, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return errors.Join(err, log.Close())
	}
	complaints := &lastWords{path: filepath.Join(h.Dir, HostErrors)}
	err = Run(ctx, Options{
		Stdin: stdin, Stdout: &parted{first: stdout, rest: log}, Stderr: complaints, SocketDir: h.Dir, ControlSocket: filepath.Join(h.Dir, HostControl), Self: self,
		Host: &Host{GitDir: h.GitDir, GitKeys: h.GitKeys},
	})
	if err != nil {
		_, _ = fmt.Fprintln(complaints, err)
	}
	return errors.Join(err, log.Sync(), log.Close())
}

// parted writes the first line to one and all later ones to another.
type parted struct {
	first, rest io.Writer
	over        bool
}

func (p *parted) Write(b []byte) (int, error) {
	if p.over {
		return p.rest.Write(b)
	}
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		return p.first.Write(b)
	}
	p.over = true
	if _, err := p.first.Write(b[:end+1]); err != nil {
		return 0, err
	}
	if end+1 < len(b) {
		n, err := p.rest.Write(b[end+1:])
		return end + 1 + n, err
	}
	return len(b), nil
}

// maxWords bounds the file of complaints.
const maxWords = 64 << 10

// lastWords keeps the end of what is written to it in a file. It may be used concurrently, and
// never fails.
type lastWords struct {
	path string
	mu   sync.Mutex
	kept []byte
}

func (l *lastWords) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, b...)
	if over := len(l.kept) - maxWords; over > 0 {
		l.kept = append(l.kept[:0], l.kept[over:]...)
	}
	_ = os.WriteFile(l.path, l.kept, 0o600)
	return len(b), nil
}
