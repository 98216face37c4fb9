package gitgate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/state"
)

// tidy asks for what no ref leads to to be cleared away, soon. It does not wait.
func (s *Server) tidy() {
	select {
	case s.untidy <- struct{}{}:
	default: // somebody has asked already
	}
}

// keepTidy clears away until ctx ends, whenever it is asked for and something has come since
// the last time.
func (s *Server) keepTidy(ctx context.Context) {
	var before int64 = -1
	for {
		select {
		case <-s.untidy:
		case <-ctx.Done():
			return
		}
		used := s.volume.used()
		if used <= before {
			continue
		}
		if err := s.clearAway(ctx); err != nil && ctx.Err() == nil {
			s.Log.Info("not all could be cleared away", "err", err)
			continue
		}
		before = s.volume.used()
		s.Log.Info("cleared away what no ref leads to", "before", used, "after", before)
	}
}

// clearAway takes away the mirrors of repositories that the bottle has no more, and of the
// others what no ref leads to.
func (s *Server) clearAway(ctx context.Context) error {
	s.dropForgotten()
	var failed error
	for _, m := range s.repositories() {
		if err := s.prune(ctx, m); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", m.Name, err))
		}
	}
	return failed
}

// dropForgotten removes mirrors that are nobody's. Repositories do not change meanwhile.
func (s *Server) dropForgotten() {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, dir := range state.Glob(s.Dir, "*.git") {
		if !slices.ContainsFunc(s.all, func(m *mirror) bool { return m.dir == dir }) {
			_ = os.RemoveAll(dir)
		}
	}
}

var errInUse = errors.New("somebody is fetching or pushing, or a push waits for the operator")

// prune makes one pack of all that a mirror's refs lead to, and takes the rest away. Nobody
// may be reading objects meanwhile: a fetch is answered by the refs as they were when it began,
// and a push may build on an object that no ref leads to any more, as may one that waits for
// the operator. So it is done when nobody is at it, and whoever comes then waits.
func (s *Server) prune(ctx context.Context, m *mirror) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.users.TryLock() {
		return errInUse
	}
	defer m.users.Unlock()
	if !m.made || s.heldFor(m) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, maxOperation)
	defer cancel()
	for _, path := range state.Glob(m.dir, "objects/pack/*.keep") { // of a push that was killed
		_ = os.Remove(path)
	}
	if _, err := m.local.run(ctx, nil, "-c", "repack.writeBitmaps=false", "repack", "-a", "-d", "-q"); err != nil {
		return errors.Join(err, clearLeftovers(m.dir))
	}
	_, err := m.local.run(ctx, nil, "prune", "--expire=now")
	return err
}

// heldFor reports whether a push to a mirror waits for the operator.
func (s *Server) heldFor(m *mirror) bool {
	return slices.ContainsFunc(state.Glob(s.Dir, "held/*"), func(dir string) bool {
		h, err := readHeld(dir)
		return err != nil || strings.EqualFold(h.Push.Repository, m.Name)
	})
}
