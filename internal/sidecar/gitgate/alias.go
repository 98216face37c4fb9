package gitgate

import (
	"bytes"
	"cmp"
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// other names a branch that may not be pushed, and that the upstream's ref of an update may stand
// for: it is at the same commit, and the upstream does not say what stands for what. "" is none.
func (m *mirror) other(ctx context.Context, u policy.RefUpdate) string {
	if u.Old == "" {
		return ""
	}
	for name, id := range m.refs.IDs {
		if id != u.Old || name == u.Ref || !strings.HasPrefix(name, "refs/heads/") {
			continue
		}
		if m.checkUpdate(policy.RefUpdate{Ref: name, Old: u.Old, New: cmp.Or(u.New, u.Old)}) == nil {
			continue
		}
		if m.tellsSymbolic(ctx) {
			return "" // and it is none
		}
		return name
	}
	return ""
}

// tellsSymbolic reports whether the upstream says which refs stand for others (gitprotocol-v2(5)). By
// the older protocol, which a plain sshd leaves git with, it says so of HEAD alone.
func (m *mirror) tellsSymbolic(ctx context.Context) bool {
	trace := filepath.Join(filepath.Dir(m.upstream.config), "trace")
	defer func() { _ = os.Remove(trace) }()
	g := m.upstream
	g.extra = []string{"GIT_TRACE_PACKET=" + trace}
	if _, err := g.run(ctx, nil, "ls-remote", "--", m.Upstream, "HEAD"); err != nil {
		return false
	}
	said, err := os.ReadFile(trace)
	return err == nil && bytes.Contains(said, []byte("< version 2"))
}
