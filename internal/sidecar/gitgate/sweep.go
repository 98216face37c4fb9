package gitgate

import (
	"os"
	"sync"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/state"
)

// receiving are the pushes that a mirror takes in. Each has its quarantine in the mirror,
// which git takes away, unless it is ended in the middle of its work.
type receiving struct {
	mu    sync.Mutex
	since map[*push]time.Time
}

func (r *receiving) begin(p *push) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.since == nil {
		r.since = make(map[*push]time.Time)
	}
	r.since[p] = time.Now()
}

// coarse is how far behind our clock the time may be that a file system writes down: the kernel
// takes that of its last tick, and some file systems keep whole seconds, two of them.
const coarse = 3 * time.Second

// end takes away what no push works on any more: what was touched last before the oldest of
// them began.
func (r *receiving) end(p *push, dir string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.since, p)
	oldest := time.Now().Add(time.Hour)
	for _, began := range r.since {
		if began = began.Add(-coarse); began.Before(oldest) {
			oldest = began
		}
	}
	sweep(dir, "objects/*tmp_objdir-*", oldest)
}

// sweep removes unfinished work that was touched last before some time.
func sweep(dir, pattern string, before time.Time) {
	for _, path := range state.Glob(dir, pattern) {
		if info, err := os.Lstat(path); err == nil && info.ModTime().Before(before) {
			_ = os.RemoveAll(path)
		}
	}
}
