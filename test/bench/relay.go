package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/test/lab"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// requests of one client on one connection.
const requests = 400

// measureRelay compares the same client asking the same upstream: from a bottle, through
// the guest's relay and egress, and from a container on the engine's bridge, directly.
func measureRelay(ctx context.Context, l *lab.Lab) (_ []figure, err error) {
	load, err := build(ctx, l, "load")
	if err != nil {
		return nil, err
	}
	program, err := os.ReadFile(load)
	if err != nil {
		return nil, err
	}
	identity, stop, err := idle(ctx, l)
	if err != nil {
		return nil, err
	}
	defer func() { _ = stop() }()
	if r, err := l.Run(ctx, bytes.NewReader(program), "exec", identity, "--", "sh", "-c", "cat > /tmp/load && chmod 755 /tmp/load"); err != nil || r.Code != 0 {
		return nil, fmt.Errorf("cannot copy the client in: %w %s", err, r.Stderr)
	}
	var through, direct []time.Duration
	for range 3 { // alternately, since the machine's mood changes
		t, err := fromBottle(ctx, l, identity)
		if err != nil {
			return nil, err
		}
		d, err := fromContainer(ctx, l, program)
		if err != nil {
			return nil, err
		}
		through, direct = append(through, t...), append(direct, d...)
	}
	return []figure{
		atMost("relay.added_p50_ms", ms(median(through)-median(direct)), "ms", 1),
		report("relay.p50_ms", ms(median(through)), "ms"),
		report("relay.direct_p50_ms", ms(median(direct)), "ms"),
	}, nil
}

// build builds one of the programs below this directory.
func build(ctx context.Context, l *lab.Lab, name string) (string, error) {
	program := filepath.Join(l.Home, name)
	c := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", program, "./test/bench/"+name)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build %s: %w: %s", name, err, out)
	}
	return program, nil
}

func fromBottle(ctx context.Context, l *lab.Lab, identity string) ([]time.Duration, error) {
	r, err := l.Run(ctx, nil, "exec", identity, "--", "/tmp/load", "https://"+standin.Host+"/api/hello", "/etc/bot-bottle/ca.pem", strconv.Itoa(requests))
	if err != nil || r.Code != 0 {
		return nil, fmt.Errorf("cannot load from the bottle: %w %s", err, r.Stderr)
	}
	return durations(r.Stdout)
}

// fromContainer runs the client in a container on the bridge, with the upstream's name
// in its hosts file.
func fromContainer(ctx context.Context, l *lab.Lab, program []byte) ([]time.Duration, error) {
	host, port, _ := strings.Cut(l.Standin.Address, ":")
	script := fmt.Sprintf("cat > /tmp/load; chmod 755 /tmp/load; printf '%%s' \"$CA\" > /tmp/ca.pem; exec /tmp/load https://%s:%s/api/hello /tmp/ca.pem %d", standin.Host, port, requests)
	c := exec.CommandContext(ctx, "docker", "run", "--rm", "-i", "--add-host", standin.Host+":"+host, "-e", "CA="+l.Standin.CA, "debian:bookworm-slim", "sh", "-c", script)
	c.Stdin = bytes.NewReader(program)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("cannot load from a container: %w %s", err, stderr.String())
	}
	return durations(string(out))
}

func durations(out string) ([]time.Duration, error) {
	var all []time.Duration
	for field := range strings.FieldsSeq(out) {
		us, err := strconv.Atoi(field)
		if err != nil {
			return nil, err
		}
		all = append(all, time.Duration(us)*time.Microsecond)
	}
	if len(all) != requests {
		return nil, errors.New("not every request was answered")
	}
	return all[1:], nil // the first makes the connection
}
