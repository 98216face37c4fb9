// Package bundle is the tiny parent of a bottle's sidecar services. It reads the one
// configuration document, a line, from its standard input, makes the sockets, and starts one
// process for each service under a uid of its own, which gets its own part of the
// document and nothing else. It restarts a crashed service; while a service is down,
// nothing of its kind passes.
//
// It must never write a secret anywhere but to the standard input of the service that
// needs it, and never listen on anything that the bottle could use to speak to it.
package bundle

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// Options of a bundle. All are needed.
type Options struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer // Stdout: control.Ready, then the audit log. Stderr: several write at a time
	SocketDir      string
	ControlSocket  string                  // of the control API; its directory is ours alone
	Self           string                  // our own executable
	UIDs           map[control.Service]int // uid and gid of each service
	DropPrivileges bool                    // false where we have none: tests, host processes
	Host           *Host                   // nil in a container of the bundle's own
	LogDir         string                  // on the disk where an engine keeps what we write to Stdout; "" where writing fails when that is full
}

// Host says where services keep things that run beside the operator's own processes, as the
// operator. Each is closed off from all files that it does not need.
type Host struct {
	GitDir, GitKeys string // of git-gate; the latter best in memory
}

// maxConfig bounds the configuration document.
const maxConfig = 16 << 20

// Run runs a bundle until ctx ends, the line control.End comes in, or the bottle has ended
// (nil), or it cannot go on. Before anything else it says on Stdout whether every service listens. The end of
// Stdin means nothing: whoever started the bottle may have let go of it. A read of
// Stdin may still be pending when Run returns.
func Run(ctx context.Context, o Options) error {
	o.Stderr = newComplaints(o.Stderr)
	stdin := bufio.NewReader(o.Stdin)
	config, services, listener, err := prepare(o, stdin)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := newLog(o.Stdout, config, cancel) // who cannot record, stops
	if o.LogDir != "" {
		out.room = func() error { return room(o.LogDir) }
	}
	if err != nil {
		return errors.Join(err, out.begin(err))
	}
	go func() {
		if asked(stdin) {
			cancel(nil)
		}
	}()
	var running sync.WaitGroup
	ready := make(chan error, len(services))
	if err == nil {
		api := newOperator(config, services, out)
		api.rewrites = filepath.Join(o.SocketDir, control.GitRewrites)
		api.rewrite()
		api.startGate = func(config []byte) error {
			s, err := newService(o, control.GitGate, json.RawMessage(config))
			if err != nil {
				return err
			}
			api.attach(s)
			up := make(chan error, 1)
			running.Go(func() { s.supervise(ctx, o, out, up, func() { cancel(nil) }) })
			if err := <-up; err != nil {
				return errors.Join(err, os.Remove(socketPath(o, control.GitGate)))
			}
			return nil
		}
		defer func() { _ = listener.Close() }() // when the log is whole: by this others see that it is
		running.Go(func() { api.serve(ctx, lasting{listener}) })
		running.Go(func() { api.keep(ctx) })
	}
	beside := newBeside(o, config.Egress)
	running.Go(func() { beside.keep(ctx, out) })
	for _, s := range services {
		running.Go(func() { s.supervise(ctx, o, out, ready, func() { cancel(nil) }) })
	}
	for range services {
		if first := <-ready; first != nil && err == nil {
			err = beside.withItsWord(first)
		}
	}
	if err == nil {
		err = out.full()
	}
	if said := out.begin(err); err == nil {
		err = said
	}
	if err == nil {
		<-ctx.Done()
	}
	cancel(nil)
	running.Wait()
	if cause := context.Cause(ctx); err == nil && errors.As(cause, new(*outputError)) {
		err = cause
	}
	out.end(err)
	return err
}

// prepare reads the configuration and makes the sockets. Without egress there is nothing
// to decide about, and no bundle.
func prepare(o Options, stdin *bufio.Reader) (config control.BundleConfig, services []*service, l *net.UnixListener, err error) {
	if config, err = readConfig(stdin); err != nil {
		return config, nil, nil, err
	}
	if config.Egress == nil {
		return config, nil, nil, errors.New("the configuration has no egress")
	}
	defer func() {
		for _, s := range services {
			if err != nil {
				_ = s.listener.Close()
			}
		}
	}()
	for _, part := range parts(config, o.Host != nil) {
		s, err := newService(o, part.name, part.config)
		if err != nil {
			return config, services, nil, err
		}
		if part.name == control.Egress && config.Egress.Pipelock.RunsItself() {
			if o.Host == nil {
				return config, services, nil, errors.New("pipelock has a container of its own here")
			}
			s.errands = besideDir(o)
		}
		services = append(services, s)
	}
	l, err = listenControl(o.ControlSocket)
	return config, services, l, err
}

// part is what one service is to know.
type part struct {
	name   control.Service
	config any
}

// parts are those of the services to begin with. Beside a machine there is a gate from the start
// where there may be one: every machine has its socket, and one that leads nowhere cannot be told
// from there.
func parts(c control.BundleConfig, onHost bool) []part {
	all := []part{{control.Egress, c.Egress}}
	if c.Git != nil && (onHost || needsGate(c)) {
		all = append(all, part{control.GitGate, c.Git})
	}
	if c.Supervise {
		all = append(all, part{control.Supervise, struct{}{}})
	}
	return all
}

// needsGate reports whether there is a repository to begin with: declared, or granted in a run before.
// Where the agent may ask for one, a container's gate is started with the first that it is granted: an idle one
// is a fifth of a bundle's memory.
func needsGate(c control.BundleConfig) bool {
	return len(c.Git.Repositories) > 0 || slices.ContainsFunc(c.Requests, func(r requests.Request) bool {
		return r.Kind == requests.Repo && r.Grant != nil && r.Grant.Ended.IsZero()
	})
}

// asked waits for the line that asks for the end; false when no more is to come.
func asked(stdin *bufio.Reader) bool {
	for {
		line, err := stdin.ReadSlice('\n')
		if string(line) == control.End {
			return true
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return false
		}
	}
}

func readConfig(r *bufio.Reader) (control.BundleConfig, error) {
	var config control.BundleConfig
	data, err := readLine(r)
	if err != nil {
		return config, fmt.Errorf("cannot read the configuration: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&config); err != nil || decoder.More() {
		return config, errors.New("the configuration is not what this version reads") // the cause may quote a secret
	}
	return config, nil
}

// readLine reads the first line, or all there is, up to maxConfig.
func readLine(r *bufio.Reader) ([]byte, error) {
	var data []byte
	for {
		part, err := r.ReadSlice('\n')
		data = append(data, part...)
		switch {
		case len(data) > maxConfig:
			return nil, errors.New("it is too large")
		case err == nil || errors.Is(err, io.EOF):
			return data, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

func newService(o Options, name control.Service, config any) (*service, error) {
	data, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	listener, err := listen(socketPath(o, name))
	if err != nil {
		return nil, err
	}
	return &service{name: name, config: data, listener: listener}, nil
}

func socketPath(o Options, name control.Service) string {
	return filepath.Join(o.SocketDir, string(name)+".sock")
}

// listen makes a service's socket, which every user in the bottle may connect to. The
// parent keeps it open, so a connection made while the service restarts waits for it.
func listen(path string) (*os.File, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot make socket %s: %w", path, err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("cannot make socket %s: %w", path, err)
	}
	defer func() { _ = l.Close() }()
	l.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o666); err != nil {
		return nil, fmt.Errorf("cannot make socket %s: %w", path, err)
	}
	return l.File()
}
