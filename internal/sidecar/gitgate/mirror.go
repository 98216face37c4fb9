package gitgate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// mirror is a repository as the upstream had it when it was last asked. What the bottle
// pushes comes into it once the upstream has it, and not before.
type mirror struct {
	control.GitRepository
	dir      string
	local    git        // configured for the bottle's side
	upstream git        // with the credential
	lister   *lister    // of an https upstream; nil for others
	line     *line      // to an ssh upstream; nil for others
	signer   ssh.Signer // nil where nothing is signed
	rights   *rights
	volume   *volume
	users    sync.RWMutex // held for reading by who reads or writes its objects

	mu        sync.Mutex // held while refs change: by a refresh, and by a push from its check to its end
	refreshed time.Time  // when the last refresh that went well began
	made      bool
	refs      policy.Refs // what the mirror holds
	current   bool        // refs is known to be that
	tooLarge  oversize    // what did not fit when it was fetched last

	shown     atomic.Pointer[map[string]string] // refs.IDs as of the last refresh, for who has no lock
	receiving receiving
}

func newMirror(r control.GitRepository, c control.GitConfig, o Options, v *volume) (*mirror, error) {
	m := &mirror{GitRepository: r, dir: filepath.Join(o.Dir, directory(r)+".git"), rights: newRights(r.More), volume: v}
	keys := filepath.Join(o.Keys, directory(r))
	m.line = newLine(r, o, filepath.Join(keys, "ssh_config"))
	if err := errors.Join(writeCredential(keys, m.line.path(), r, c), writeLocal(o)); err != nil {
		return nil, err
	}
	m.local = git{dir: m.dir, config: localConfig(o)}
	m.upstream = git{dir: m.dir, config: filepath.Join(keys, "gitconfig")}
	if r.SignKey != "" {
		var err error
		if m.signer, err = parseSigner(r.SignKey); err != nil {
			return nil, err
		}
	}
	if strings.HasPrefix(r.Upstream, "https://") {
		m.lister = newLister(r, c)
	}
	return m, nil
}

// make creates the mirror where there is none.
func (m *mirror) make(ctx context.Context) error {
	if m.made {
		return nil
	}
	if err := errors.Join(os.MkdirAll(m.dir, 0o700), clearLeftovers(m.dir)); err != nil {
		return err
	}
	if _, err := m.local.run(ctx, nil, "init", "--quiet", "--bare", "--template=", m.dir); err != nil {
		return err
	}
	m.made = true
	return nil
}

// refresh brings the mirror up to date with what the upstream has had since asked, or reports
// why it is not. Whoever comes while one runs is served by the next, together with all others
// who wait.
func (m *mirror) refresh(ctx context.Context, asked time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refreshed.After(asked) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, maxOperation)
	defer cancel()
	return m.update(ctx)
}

// update brings the mirror up to date with what the upstream has from now on. The mirror is
// locked.
func (m *mirror) update(ctx context.Context) error {
	began := time.Now()
	if err := m.make(ctx); err != nil {
		return err
	}
	if err := m.trust(ctx); err != nil {
		return err
	}
	theirs, err := m.ask(ctx)
	if err != nil {
		return err
	}
	if err := m.take(ctx, theirs); err != nil {
		return err
	}
	m.refreshed = began
	shown := m.refs.IDs // which is replaced, never changed
	m.shown.Store(&shown)
	return nil
}

// ask lists the upstream's refs. Where nothing has changed that is all that a fetch costs.
func (m *mirror) ask(ctx context.Context) (policy.Refs, error) {
	if m.lister != nil {
		if refs, err := m.lister.list(ctx); !errors.Is(err, errUnspoken) {
			return refs, err
		}
	}
	out, err := m.lists(ctx)
	if err != nil {
		return policy.Refs{}, err
	}
	return parseRefs(out), nil
}

// parseRefs reads git-ls-remote(1)'s output. Only branches and tags are the bottle's to see.
func parseRefs(out []byte) policy.Refs {
	refs := policy.Refs{IDs: make(map[string]string), Symbolic: make(map[string]string)}
	for line := range bytes.Lines(out) {
		value, name, ok := strings.Cut(strings.TrimSuffix(string(line), "\n"), "\t")
		to, symbolic := strings.CutPrefix(value, "ref: ")
		switch {
		case !ok || strings.HasSuffix(name, "^{}"):
		case symbolic && name == "HEAD":
			refs.Default = to
		case !strings.HasPrefix(name, "refs/heads/") && !strings.HasPrefix(name, "refs/tags/"):
		case symbolic:
			refs.Symbolic[name] = to
		default:
			refs.IDs[name] = value
		}
	}
	return refs
}

// take makes the mirror's refs those of the upstream.
func (m *mirror) take(ctx context.Context, theirs policy.Refs) error {
	if err := m.look(ctx); err != nil {
		return err
	}
	if !maps.Equal(theirs.IDs, m.refs.IDs) {
		left := m.volume.left()
		if left <= 0 || left <= m.tooLarge.left && maps.Equal(theirs.IDs, m.tooLarge.ids) {
			return &errTooLarge{m.volume.most}
		}
		m.current = false
		g := m.upstream
		g.most = left
		_, err := g.run(ctx, nil, "fetch", "--quiet", "--prune", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules", "--force",
			"--", m.Upstream, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
		if err != nil {
			if cutOff(m.dir, left) {
				m.tooLarge, err = oversize{theirs.IDs, left}, &errTooLarge{m.volume.most}
			}
			sweep(m.dir, "objects/pack/*tmp_*", time.Now())
			return err
		}
		if err := m.look(ctx); err != nil {
			return err
		}
	}
	if strings.HasPrefix(theirs.Default, "refs/heads/") && theirs.Default != m.refs.Default {
		if _, err := m.local.run(ctx, nil, "symbolic-ref", "HEAD", theirs.Default); err != nil {
			return err
		}
	}
	m.refs.Default, m.refs.Symbolic = theirs.Default, theirs.Symbolic
	return nil
}

// look reads the mirror's own refs, if they may have changed.
func (m *mirror) look(ctx context.Context) error {
	if m.current {
		return nil
	}
	out, err := m.local.run(ctx, nil, "for-each-ref", "--format=%(objectname)%09%(refname)", "refs/heads", "refs/tags")
	if err != nil {
		return err
	}
	m.refs.IDs, m.current = parseRefs(out).IDs, true
	return nil
}

// trust makes sure that the host key of an upstream that is known by a fingerprint is
// written down, once.
func (m *mirror) trust(ctx context.Context) error {
	file := knownHostsFile(m.upstream)
	if m.HostKey == "" {
		return nil
	}
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	line, err := scanHostKey(ctx, m.GitRepository)
	if err != nil {
		return fmt.Errorf("cannot check its host key: %w", err)
	}
	return writeFile(file, line, 0o600)
}
