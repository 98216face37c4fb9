package docker

import (
	"errors"
	"testing"
)

// That no engine answers is said once, with the cause, and not in the client's words of its request.
func TestUnreachableSaysWhyOnce(t *testing.T) {
	for said, want := range map[string]string{
		"Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?":                                                    "no docker engine answers at HOST",
		`error during connect: Get "http://127.0.0.1/_ping": ssh: ssh: connect to host 127.0.0.1 port 1: Connection refused`:                 "no docker engine answers at HOST: ssh: connect to host 127.0.0.1 port 1: Connection refused",
		"failed to connect to the docker API at foo://x: lookup x: no such host":                                                             "no docker engine answers at HOST: lookup x: no such host",
		"permission denied while trying to connect to the Docker daemon socket at unix:///x: dial unix /x: connect: permission denied":       "no docker engine answers at HOST: permission denied while trying to connect to the Docker daemon socket at unix:///x: dial unix /x: connect: permission denied",
		`error during connect: Get "https://x:2376/_ping": tls: failed to verify certificate: x509: certificate signed by unknown authority`: "no docker engine answers at HOST: tls: failed to verify certificate: x509: certificate signed by unknown authority",
	} {
		if got := (&UnreachableError{Host: "HOST", Err: errors.New(said)}).Error(); got != want {
			t.Errorf("%s\ngot  %s\nwant %s", said, got, want)
		}
	}
}
