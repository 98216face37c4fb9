package docker

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/moby/client"
)

// That no engine answers is said once, with the cause, and not in the client's words of its request.
func TestUnreachableSaysWhyOnce(t *testing.T) {
	for said, want := range map[string]string{
		"Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?":                                                                               "no docker engine answers at HOST",
		`error during connect: Get "http://127.0.0.1/_ping": ssh: ssh: connect to host 127.0.0.1 port 1: Connection refused`:                                            "no docker engine answers at HOST: ssh: connect to host 127.0.0.1 port 1: Connection refused",
		"failed to connect to the docker API at foo://x: lookup x: no such host":                                                                                        "no docker engine answers at HOST: lookup x: no such host",
		"permission denied while trying to connect to the Docker daemon socket at unix:///x: dial unix /x: connect: permission denied":                                  "no docker engine answers at HOST: permission denied",
		"failed to connect to the docker API at unix:///x; check if the path is correct and if the daemon is running: dial unix /x: connect: no such file or directory": "no docker engine answers at HOST: no such file or directory",
		"failed to connect to the docker API at tcp://1.2.3.4:2375: dial tcp 1.2.3.4:2375: connect: connection refused":                                                 "no docker engine answers at HOST: connection refused",
		"permission denied while trying to connect to the docker API at unix:///x":                                                                                      "no docker engine answers at HOST: permission denied",
		`error during connect: Get "https://x:2376/_ping": tls: failed to verify certificate: x509: certificate signed by unknown authority`:                            "no docker engine answers at HOST: tls: failed to verify certificate: x509: certificate signed by unknown authority",
	} {
		if got := (&UnreachableError{Host: "HOST", Err: errors.New(said)}).Error(); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", said, got, want)
		}
	}
}

// What to do depends on where the engine is.
func TestUnreachableElsewhere(t *testing.T) {
	for host, want := range map[string]string{"unix:///x": "start the engine (", "tcp://x:1": "start the engine there", "ssh://x": "start the engine there"} {
		if got := (&UnreachableError{Host: host, Err: errors.New("no")}).Hint(); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %s", host, got)
		}
	}
}

// Who may not use the engine's socket is told that, and not to start the engine.
func TestForbiddenIsSaid(t *testing.T) {
	refuse := func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "unix", Err: syscall.EACCES}
	}
	c, err := client.New(client.WithHost("unix:///x.sock"), client.WithDialContext(refuse))
	if err != nil {
		t.Fatal(err)
	}
	_, err = (&Driver{Client: c}).Place(t.Context())
	var unreachable *UnreachableError
	if !errors.As(err, &unreachable) || err.Error() != "no docker engine answers at unix:///x.sock: permission denied" || !strings.HasPrefix(unreachable.Hint(), "add yourself to the group") {
		t.Errorf("got %v", err)
	}
}
