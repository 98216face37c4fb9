package smolmachines

import (
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/image"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/pipelock"
	"github.com/bot-bottle/bot-bottle/internal/resolve"
)

// resolvePipelock finds out which pipelock the bottle gets: a program of this host's, that the
// bundle runs as a process closed off from the rest of it. There is no image that could be run, and
// what cannot be closed off is not run.
func (p *Plan) resolvePipelock(want *manifest.Pipelock, system string) (err error) {
	switch {
	case want == nil:
		return nil
	case system != "linux":
		return withHint("leave it out, or use the docker backend", "pipelock cannot be had: on smolmachines it is a process of this host, which only Linux can close off")
	case want.Binary == "":
		return withHint("name a program on this host: pipelock: {binary: /path/to/pipelock}", "pipelock cannot be had: on smolmachines it is no image, but a process of this host")
	}
	plan := resolve.Pipelock{Binary: want.Binary, MinVersion: want.MinVersion, Answers: want.Answers}
	if _, plan.Hash, err = image.PipelockRef(want.Binary, runtime.GOARCH); err != nil {
		return fmt.Errorf("pipelock cannot be had: %w", err)
	}
	p.Pipelock = &plan
	return nil
}

// withPipelock has the bundle run pipelock itself.
func (p Plan) withPipelock(c control.BundleConfig) control.BundleConfig {
	if p.Pipelock != nil {
		c.Egress.Pipelock.Dir, c.Egress.Pipelock.Binary, c.Egress.Pipelock.Hash = "", p.Pipelock.Binary, p.Pipelock.Hash
	}
	return c
}

// reached are the services that the bottle reaches: pipelock has no socket in it.
func (p Plan) reached() []control.Service {
	return slices.DeleteFunc(p.Services(), func(s control.Service) bool { return s == control.Pipelock })
}

// pipelockLives reports whether somebody runs pipelock for a bundle.
func pipelockLives(dir string) bool {
	conn, err := net.Dial("unix", filepath.Join(dir, control.PipelockBeside, pipelock.OrderSocket))
	if err != nil {
		return false
	}
	return conn.Close() == nil
}
