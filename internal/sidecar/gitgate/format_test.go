package gitgate

import (
	"path/filepath"
	"testing"
)

// An upstream with object ids of SHA-256 cannot be had, and git says why in the bottle.
func TestAnUpstreamOfAnotherObjectFormatIsRefused(t *testing.T) {
	l := newLab(t)
	other := filepath.Join(l.dir, "other.git")
	l.git("/", "init", "-q", "--bare", "--object-format=sha256", "-b", "main", other)
	work := filepath.Join(l.dir, "sha256")
	l.git("/", "init", "-q", "--object-format=sha256", "-b", "main", work)
	l.git(work, "commit", "-q", "--allow-empty", "-m", "x")
	l.git(work, "push", "-q", other, "main")
	l.stop()
	l.upstream = other
	l.config.Repositories[0].Upstream = l.address()
	l.config.Repositories[0].Name = "other"
	l.start()
	l.refused("/", "ids of SHA-256, which the gate does not speak", "ls-remote", l.url)
}
