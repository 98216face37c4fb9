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
)

// Where a service finds its socket, and its link to the parent.
const (
	listenerFD = 3
	linkFD     = 4
)

// memoryTarget is where the collector begins to work harder, in bytes.
const memoryTarget = 320 << 20

// ServeChild is a service's process: it reads its configuration from stdin, says on
// stdout that it listens, and serves until ctx ends. Audit events follow on stdout.
func ServeChild(ctx context.Context, service control.Service, stdin io.Reader, stdout, stderr io.Writer) error {
	server, listener, link, err := open(service, stdin, stdout, stderr)
	if err != nil {
		return errors.Join(err, json.NewEncoder(stdout).Encode(control.Ready{Error: err.Error()}))
	}
	if err := json.NewEncoder(stdout).Encode(control.Ready{Ready: true}); err != nil {
		return err
	}
	var hearing sync.WaitGroup
	hearing.Go(func() { hear(link, server.Apply) })
	err = server.Serve(ctx, listener)
	_ = link.Close()
	hearing.Wait()
	return err
}

// open makes the service, with its socket, out of what the parent hands over.
func open(service control.Service, stdin io.Reader, stdout, stderr io.Writer) (*egress.Server, net.Listener, net.Conn, error) {
	if err := harden(); err != nil {
		return nil, nil, nil, fmt.Errorf("cannot close %s off: %w", service, err)
	}
	debug.SetMemoryLimit(memoryTarget)
	if service != control.Egress {
		return nil, nil, nil, fmt.Errorf("there is no service %q", service)
	}
	var config control.EgressConfig
	data, err := io.ReadAll(io.LimitReader(stdin, maxConfig))
	if err != nil {
		return nil, nil, nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return nil, nil, nil, errors.New("the configuration is not what this version reads")
	}
	clear(data)
	server, err := egress.New(config, audit.NewWriter(stdout), slog.New(slog.NewJSONHandler(stderr, nil)))
	if err != nil {
		return nil, nil, nil, err
	}
	socket, link := os.NewFile(listenerFD, "listener"), os.NewFile(linkFD, "link")
	defer func() { _, _ = socket.Close(), link.Close() }()
	listener, err := net.FileListener(socket)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("cannot use the socket: %w", err)
	}
	parent, err := net.FileConn(link)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("cannot use the link: %w", err)
	}
	return server, listener, parent, nil
}
