package pipelock

import (
	"container/list"
	"crypto/sha256"
	"sync"
)

// Bounds of what is known to be clean.
const (
	maxRemembered = 32 << 10 // parts of bodies: some 24 MiB of text, for 8 MiB of memory
	maxWholes     = 8 << 10  // URLs, heads and answers
)

// digest names a text without holding it.
type digest [sha256.Size]byte

// cache knows what pipelock has allowed under one configuration, the latest first. It may
// be used concurrently.
type cache struct {
	most  int
	mu    sync.Mutex
	known map[digest]*list.Element
	order *list.List // of digests
}

func newCache(most int) *cache {
	return &cache{most: most, known: make(map[digest]*list.Element), order: list.New()}
}

func digestOf(kind, text string) digest {
	h := sha256.New()
	_, _ = h.Write([]byte(kind + "\x00"))
	_, _ = h.Write([]byte(text))
	return digest(h.Sum(nil))
}

// has reports whether something was allowed.
func (c *cache) has(d digest) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.known[d]
	if ok {
		c.order.MoveToFront(e)
	}
	return ok
}

func (c *cache) add(all ...digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range all {
		if _, ok := c.known[d]; ok {
			continue
		}
		c.known[d] = c.order.PushFront(d)
		if c.order.Len() > c.most {
			last := c.order.Back()
			delete(c.known, c.order.Remove(last).(digest))
		}
	}
}
