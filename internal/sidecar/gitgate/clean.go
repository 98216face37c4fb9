package gitgate

import (
	"encoding/hex"
	"sync"

	"github.com/bot-bottle/bot-bottle/internal/dlp"
)

// clean remembers files in which nothing was found, by their ids, which are digests of what
// they hold: what an agent pushes again after a refusal, most of it, is not searched twice. It
// belongs to one checker, and so to its rules and its known values: others begin with none. A
// file belongs here only if it was searched to its end; the parts of known values in it are
// remembered too, since what is pushed beside it may have the others. It may be used
// concurrently.
type clean struct {
	mu    sync.Mutex
	files map[objectID]cleanFile
	order []objectID // a ring, to forget the oldest
	next  int
}

type cleanFile struct {
	size  int64
	parts dlp.Parts
}

type objectID [20]byte

// Bounds of what is remembered: 100 bytes for each file, and 24 for each part.
const (
	maxClean = 1 << 17
	maxParts = 64
)

func newClean(most int) *clean {
	return &clean{files: make(map[objectID]cleanFile), order: make([]objectID, 0, most)}
}

// parseID reads an id as git writes it.
func parseID(text string) (id objectID, ok bool) {
	n, err := hex.Decode(id[:], []byte(text[:min(len(text), 2*len(id))]))
	return id, err == nil && n == len(id) && len(text) == 2*len(id)
}

func (c *clean) add(id objectID, f cleanFile) {
	if f.parts.Len() > maxParts {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.files[id]; known {
		return
	}
	if len(c.order) < cap(c.order) {
		c.order = append(c.order, id)
	} else {
		delete(c.files, c.order[c.next])
		c.order[c.next] = id
		c.next = (c.next + 1) % len(c.order)
	}
	c.files[id] = f
}

func (c *clean) get(id objectID) (cleanFile, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, known := c.files[id]
	return f, known
}

// without hands over what is known of objects, and returns the others in the same order.
func (c *clean) without(objects []object, take func(object, cleanFile) error) (left []object, err error) {
	for _, o := range objects {
		id, ok := parseID(o.id)
		f, known := c.get(id)
		if !ok || !known {
			left = append(left, o)
		} else if err := take(o, f); err != nil {
			return nil, err
		}
	}
	return left, nil
}
