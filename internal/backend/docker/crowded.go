package docker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// A bottle whose limit of processes is reached starts no command: the engine's runtime, or our own
// binary, does not get the threads that it needs, and breaks off with words of its own.

// brokenOff are what those words begin with: Go's runtime, and the engine.
var brokenOff = []string{"runtime: failed to create new OS thread", "OCI runtime exec failed"}

// muchSaid bounds what is held of them, in bytes.
const muchSaid = 64 << 10

// opening passes a command's output on, unless it begins as that of a command which never began: then
// it is held. On a terminal nothing is held, since a single letter may be waited for there.
type opening struct {
	to    io.Writer
	hold  bool
	first []byte
	past  bool // it begins otherwise
}

// Write implements io.Writer.
func (o *opening) Write(p []byte) (int, error) {
	if o.past {
		return o.to.Write(p)
	}
	o.first = append(o.first, p...)
	o.past = len(o.first) > muchSaid || !slices.ContainsFunc(brokenOff, func(words string) bool {
		n := min(len(words), len(o.first))
		return string(o.first[:n]) == words[:n]
	})
	if !o.hold {
		return o.to.Write(p)
	}
	if !o.past {
		return len(p), nil
	}
	return len(p), o.flush()
}

// flush passes on what was held.
func (o *opening) flush() error {
	held := o.first
	o.first = nil
	if !o.hold || len(held) == 0 {
		return nil
	}
	_, err := o.to.Write(held)
	return err
}

// brokeOff reports whether it was the output of a command that never began: so it says, which a
// command may as well.
func (o *opening) brokeOff() bool {
	return !o.past && slices.ContainsFunc(brokenOff, func(words string) bool { return strings.HasPrefix(string(o.first), words) })
}

// threadsOfACommand are what it takes to start one, at most.
const threadsOfACommand = 16

// crowded is the error of a command that could not begin in a bottle where too many processes run; nil
// where that is not so, or cannot be seen. An engine may take a second to say.
func (b *Bottle) crowded(ctx context.Context, command string) error {
	r, err := b.driver.Client.ContainerStats(ctx, b.agent.id, client.ContainerStatsOptions{})
	if err != nil {
		return nil
	}
	defer func() { _ = r.Body.Close() }()
	var now container.StatsResponse
	if json.NewDecoder(r.Body).Decode(&now) != nil || now.PidsStats.Limit == 0 || now.PidsStats.Current+threadsOfACommand < now.PidsStats.Limit {
		return nil
	}
	return &hinted{
		fmt.Errorf("cannot run %q in %s: as many processes and threads run there as may, %d", command, b.identity, now.PidsStats.Limit),
		"bot-bottle stop " + b.identity + " ends them; resources.pids in the bottle's manifest sets how many may run",
	}
}
