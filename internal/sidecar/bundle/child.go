package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/sidecar/egress"
	"github.com/bot-bottle/bot-bottle/internal/sidecar/gitgate"
	"github.com/bot-bottle/bot-bottle/internal/sidecar/supervise"
)

// Where a service finds its socket, the link on which the parent changes its configuration,
// the one on which it asks the parent, or egress is asked what is left of the limits, and the one on
// which egress has the parent connect it with pipelock.
const (
	listenerFD = 3
	linkFD     = 4
	askingFD   = 5
	errandsFD  = 6
)

// memoryTarget is where the collector begins to work harder, in bytes.
const memoryTarget = 320 << 20

// child is a service's process.
type child interface {
	// Serve serves the bottle until ctx ends, and closes its socket.
	Serve(ctx context.Context, socket net.Listener) error
}

// ServeChild is a service's process: it reads its configuration from stdin, says on
// stdout that it listens, and serves until ctx ends. Audit events follow on stdout.
func ServeChild(ctx context.Context, service control.Service, host *Host, stdin io.Reader, stdout, stderr io.Writer) error {
	server, listener, link, err := open(service, host, stdin, stdout, stderr)
	if err != nil {
		return errors.Join(err, json.NewEncoder(stdout).Encode(control.Ready{Error: err.Error()}))
	}
	if err := json.NewEncoder(stdout).Encode(control.Ready{Ready: true}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var hearing sync.WaitGroup
	switch changing := server.(type) {
	case *egress.Server:
		hearing.Go(func() { hear(link, changing.Apply) })
		hearing.Go(func() { tellLeft(ctx, changing) })
	case *gitgate.Server:
		hearing.Go(func() { hear(link, changing.Apply) })
	}
	err = server.Serve(ctx, listener)
	cancel()
	_ = link.Close()
	hearing.Wait()
	return err
}

// tellLeft tells the parent what is left of the limits. Should it be unable to, that is not
// shown, and all else goes on.
func tellLeft(ctx context.Context, s *egress.Server) {
	if asking, err := handedConn(askingFD, "asking"); err == nil {
		control.ServeMeters(ctx, asking, s.Left)
	}
}

// open makes the service, with its socket, out of what the parent hands over.
func open(service control.Service, host *Host, stdin io.Reader, stdout, stderr io.Writer) (child, net.Listener, net.Conn, error) {
	if err := errors.Join(harden(), host.confine(service)); err != nil {
		return nil, nil, nil, fmt.Errorf("cannot close %s off: %w", service, err)
	}
	debug.SetMemoryLimit(memoryTarget)
	listener, link, err := handed()
	if err != nil {
		return nil, nil, nil, err
	}
	server, err := newChild(service, host, stdin, audit.NewWriter(stdout), slog.New(slog.NewJSONHandler(stderr, nil)))
	if err != nil {
		return nil, nil, nil, errors.Join(err, listener.Close(), link.Close())
	}
	return server, listener, link, nil
}

func newChild(service control.Service, host *Host, stdin io.Reader, events *audit.Writer, log *slog.Logger) (child, error) {
	switch service {
	case control.Egress:
		var config control.EgressConfig
		if err := readPart(stdin, &config); err != nil {
			return nil, err
		}
		if !config.Pipelock.RunsItself() {
			return egress.New(config, events, log, nil)
		}
		errands, err := handedConn(errandsFD, "errands")
		if err != nil {
			return nil, err
		}
		return egress.New(config, events, log, newErrands(errands).dial)
	case control.Supervise:
		parent, err := handedConn(askingFD, "asking")
		if err != nil {
			return nil, err
		}
		return supervise.New(control.NewCounterClient(parent), log)
	case control.GitGate:
		var config control.GitConfig
		if err := readPart(stdin, &config); err != nil {
			return nil, err
		}
		parent, err := handedConn(askingFD, "asking")
		if err != nil {
			return nil, err
		}
		holder := control.NewHolderClient(parent)
		dir, keys, self, err := host.places()
		if err != nil {
			return nil, err
		}
		return gitgate.New(config, gitgate.Options{
			Dir: dir, Keys: keys, Self: self, Events: events, Log: log, Holder: holder, Gone: holder.Gone(),
		})
	}
	return nil, fmt.Errorf("there is no service %q", service)
}

// readPart reads a service's part of the configuration.
func readPart(stdin io.Reader, config any) error {
	data, err := io.ReadAll(io.LimitReader(stdin, maxConfig))
	if err != nil {
		return fmt.Errorf("cannot read the configuration: %w", err)
	}
	defer clear(data)
	if json.Unmarshal(data, config) != nil { // the cause may quote a secret
		return errors.New("the configuration is not what this version reads")
	}
	return nil
}

// handed are the socket and the link that the parent gave us.
func handed() (net.Listener, net.Conn, error) {
	socket := os.NewFile(listenerFD, "listener")
	if socket == nil {
		return nil, nil, errStray
	}
	defer func() { _ = socket.Close() }()
	listener, err := net.FileListener(socket)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot use the socket: %w", err)
	}
	link, err := handedConn(linkFD, "link")
	if err != nil {
		return nil, nil, errors.Join(err, listener.Close())
	}
	return listener, link, nil
}

var errStray = errors.New("it was not started by a bundle")

func handedConn(fd uintptr, name string) (net.Conn, error) {
	file := os.NewFile(fd, name)
	if file == nil {
		return nil, errStray
	}
	defer func() { _ = file.Close() }()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("cannot use the %s: %w", name, err)
	}
	return conn, nil
}
