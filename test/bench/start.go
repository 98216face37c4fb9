package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/test/lab"
)

// rounds of each measurement; the two compared alternate.
const rounds = 15

// measureStart compares a whole start of an agent that ends at once with a bare docker
// run of the same image, teardown included, and takes the time to the agent's first byte.
func measureStart(ctx context.Context, l *lab.Lab) ([]figure, error) {
	image, err := stub(ctx, l, "quick", `echo up`)
	if err != nil {
		return nil, err
	}
	var bare, ours, first []time.Duration
	for range rounds {
		began := time.Now()
		if out, err := exec.CommandContext(ctx, "docker", "run", "--rm", image, "true").CombinedOutput(); err != nil {
			return nil, fmt.Errorf("docker run: %w: %s", err, out)
		}
		bare = append(bare, time.Since(began))
		whole, byteOne, err := once(ctx, l)
		if err != nil {
			return nil, err
		}
		ours, first = append(ours, whole), append(first, byteOne)
	}
	return []figure{
		atMost("start.ratio", median(ours).Seconds()/median(bare).Seconds(), "×", 1.5),
		report("start.ms", ms(median(ours)), "ms"),
		report("start.bare_ms", ms(median(bare)), "ms"),
		report("start.first_byte_ms", ms(median(first)), "ms"),
	}, nil
}

// once starts the quick agent and takes both times.
func once(ctx context.Context, l *lab.Lab) (whole, first time.Duration, err error) {
	c := l.Command(ctx, "start", "--rm", "-y", "quick")
	stdout, err := c.StdoutPipe()
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	if err := c.Start(); err != nil {
		return 0, 0, err
	}
	_, readErr := io.ReadFull(stdout, make([]byte, 1))
	first = time.Since(began)
	_, _ = io.Copy(io.Discard, stdout)
	return time.Since(began), first, errors.Join(readErr, c.Wait())
}

// stub makes an agent whose program is a script, on the real image, starts it once so
// that everything is warm, and returns its image.
func stub(ctx context.Context, l *lab.Lab, name, script string) (string, error) {
	file := filepath.Join(l.Home, name, "Dockerfile")
	if err := errors.Join(
		l.Write(name+"/Dockerfile", fmt.Sprintf("USER root\nRUN printf '#!/bin/sh\\n%s\\n' > /usr/local/bin/claude && chmod 755 /usr/local/bin/claude\n", script)),
		l.Write("bottles/"+name+".md", "---\nextends: dev\nagent_provider: {dockerfile: "+file+"}\n---\n"),
		l.Write("agents/"+name+".md", "---\nbottle: "+name+"\n---\n"),
	); err != nil {
		return "", err
	}
	started, err := l.Run(ctx, nil, "start", "-y", "--detach", "--rm", name)
	if err != nil || started.Code != 0 {
		return "", fmt.Errorf("cannot start agent %s: %w\n%s", name, err, started.Stderr)
	}
	identity := strings.TrimSpace(started.Stdout)
	image, err := exec.CommandContext(ctx, "docker", "inspect", "--format", "{{.Image}}", "bot-bottle-"+identity+"-agent").Output()
	if err != nil {
		return "", fmt.Errorf("docker inspect: %w", err)
	}
	_, err = l.Run(ctx, nil, "stop", identity)
	if err == nil {
		_, err = l.Run(ctx, nil, "cleanup", "-y")
	}
	return strings.TrimSpace(string(image)), err
}

func median(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
