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

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/sidecar/egress"
)

// listenerFD is where a service finds its socket.
const listenerFD = 3

// memoryTarget is where the collector begins to work harder, in bytes.
const memoryTarget = 320 << 20

// ServeChild is a service's process: it reads its configuration from stdin, says on
// stdout that it listens, and serves until ctx ends. Audit events follow on stdout.
func ServeChild(ctx context.Context, service control.Service, stdin io.Reader, stdout, stderr io.Writer) error {
	server, listener, err := open(service, stdin, stdout, stderr)
	if err != nil {
		return errors.Join(err, json.NewEncoder(stdout).Encode(control.Ready{Error: err.Error()}))
	}
	if err := json.NewEncoder(stdout).Encode(control.Ready{Ready: true}); err != nil {
		return err
	}
	return server.Serve(ctx, listener)
}

// open makes the service, with its socket, out of what the parent hands over.
func open(service control.Service, stdin io.Reader, stdout, stderr io.Writer) (*egress.Server, net.Listener, error) {
	if err := harden(); err != nil {
		return nil, nil, fmt.Errorf("cannot close %s off: %w", service, err)
	}
	debug.SetMemoryLimit(memoryTarget)
	if service != control.Egress {
		return nil, nil, fmt.Errorf("there is no service %q", service)
	}
	var config control.EgressConfig
	data, err := io.ReadAll(io.LimitReader(stdin, maxConfig))
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return nil, nil, errors.New("the configuration is not what this version reads")
	}
	clear(data)
	server, err := egress.New(config, audit.NewWriter(stdout), slog.New(slog.NewJSONHandler(stderr, nil)))
	if err != nil {
		return nil, nil, err
	}
	socket := os.NewFile(listenerFD, "listener")
	defer func() { _ = socket.Close() }()
	listener, err := net.FileListener(socket)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot use the socket: %w", err)
	}
	return server, listener, nil
}
