//go:build linux

package memory

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/pki"
	"github.com/bot-bottle/bot-bottle/internal/resolve"
)

// controlSocket is the control API's, beside the services' sockets; the bottle does not see it.
const controlSocket = "control.sock"

// bundleGrace is how long a bundle may take to end.
const bundleGrace = 5 * time.Second

// bundleConfig is the document for the bundle's standard input.
func (d *Driver) bundleConfig(p Plan, ca pki.CA, log control.Log) (control.BundleConfig, error) {
	roots, err := d.Roots()
	if err != nil {
		return control.BundleConfig{}, err
	}
	h := resolve.Host{CA: ca, Roots: roots, Log: log}
	if p.Resume {
		if h.Requests, err = d.State.Requests(p.Identity); err != nil {
			return control.BundleConfig{}, err
		}
	}
	return p.BundleConfig(h), nil
}

// startBundle starts the bundle of a bottle as processes beside it, and waits until all of its
// services listen.
func (d *Driver) startBundle(ctx context.Context, m *machine, config control.BundleConfig) (err error) {
	document, err := json.Marshal(config)
	if err != nil {
		return err
	}
	said, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = said.Close() }()
	c := exec.Command(d.Program, "sidecar", "host", m.dir, d.State.AuditFile(m.identity), d.gitDir(m.identity), filepath.Join(m.dir, "keys"))
	c.Stdin, c.Stdout, c.Env = bytes.NewReader(append(document, '\n')), theirs, environment()
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	m.bundle, err = start(c)
	_ = theirs.Close()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = c.Process.Kill() })()
	var r control.Ready
	line, err := bufio.NewReader(said).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &r)
	}
	if err == nil && !r.Ready {
		err = errors.New(r.Error)
	}
	if err != nil {
		return errors.Join(ctx.Err(), fmt.Errorf("the sidecar bundle could not start: %w", err))
	}
	return ctx.Err()
}

func (d *Driver) gitDir(identity string) string { return filepath.Join(d.dir(identity), "git") }

// Control connects with the bundle's control API.
func (b *Bottle) Control(ctx context.Context) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", filepath.Join(b.dir, controlSocket))
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil, &control.DownError{Identity: b.identity}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot reach the bundle of %s: %w", b.identity, err)
	}
	return conn, nil
}
