package dlp

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"sync"
)

// cache remembers which neighbouring chunks of bodies were clean, so that of a history
// that is sent again and again only what is new is searched. It keeps digests alone.
type cache struct {
	mu    sync.Mutex
	clean map[digest]struct{}
	order []digest // a ring, to forget the oldest
	next  int
}

type digest [sha256.Size]byte

func newCache(size int) *cache {
	return &cache{clean: make(map[digest]struct{}), order: make([]digest, 0, size)}
}

func (k *cache) has(d digest) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, ok := k.clean[d]
	return ok
}

func (k *cache) add(d digest) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.clean[d]; ok {
		return
	}
	if len(k.order) < cap(k.order) {
		k.order = append(k.order, d)
	} else {
		delete(k.clean, k.order[k.next])
		k.order[k.next] = d
		k.next = (k.next + 1) % len(k.order)
	}
	k.clean[d] = struct{}{}
}

// chunk is a part of a body that is remembered as a whole, together with the one before
// it: what spans two of them was searched.
type chunk struct {
	start, end int
	pair       digest
	clean      bool
}

// minChunk is how small a chunk may be, and so how far a secret may reach from one into
// the next but one.
const minChunk = 4 << 10

// chunks cuts a body where a message of a list seems to begin, which is where the next
// request will be cut too, whatever came before.
func (c *scan) chunks(data []byte) []chunk {
	var list []chunk
	before := c.audience()
	for start := 0; start < len(data); {
		end := len(data)
		if start+minChunk < len(data) {
			if i := bytes.Index(data[start+minChunk:], []byte(`,{"`)); i >= 0 {
				end = start + minChunk + i
			}
		}
		own := sha256.Sum256(data[start:end])
		pair := sha256.Sum256(append(before[:], own[:]...))
		list = append(list, chunk{start, end, pair, c.cache.has(pair)})
		before = sha256.Sum256(append(own[:], c.salt[:]...))
		start = end
	}
	return list
}

// audience is a digest of what decides, beside the data, whether it is clean.
func (c *scan) audience() digest {
	words := append(append(c.borrow(), c.in.Kind...), 0)
	words = append(append(words, c.in.Host...), 0)
	for _, own := range c.in.Own {
		words = append(append(words, own...), 0)
	}
	defer c.giveBack(words)
	return sha256.Sum256(words)
}

// repeated searches a head, unless the very same was searched before for the same host and
// held nothing: no finding, and no part of a known value, which others of its requests may
// complete. Of such a one the search depends on nothing else, and leaves nothing behind.
func (c *scan) repeated(v *view) {
	whom := c.audience()
	text := append(append(c.borrow(), whom[:]...), v.data...)
	sum := digest(sha256.Sum256(text))
	c.giveBack(text)
	if c.heads.has(sum) {
		return
	}
	c.plain(v)
	if c.err == nil && len(c.findings) == 0 && len(c.pieces) == 0 {
		c.heads.add(sum)
	}
}

// cached searches the chunks that are not known to be clean, with their neighbours.
func (c *scan) cached(v *view) {
	c.salt = c.audience()
	list := c.chunks(v.data)
	old := func(k chunk) bool { return k.clean }
	fresh := func(k chunk) bool { return !k.clean }
	if slices.ContainsFunc(list, old) && slices.ContainsFunc(list, fresh) {
		c.cut(v) // what is new may end what an old string began, however far from it
	}
	for i := 0; i < len(list) && c.err == nil; i++ {
		if list[i].clean {
			continue
		}
		first := i
		for i+1 < len(list) && !list[i+1].clean {
			i++
		}
		start, end := list[first].start, list[i].end
		if first > 0 {
			start = max(list[first-1].start, start-overlap)
		}
		if i+1 < len(list) {
			end = min(list[i+1].end, end+overlap)
		}
		pieces := len(c.pieces)
		c.view(v.part(start, end), c.depth)
		if len(c.pieces) == pieces && c.err == nil {
			c.remember(list[first : i+1])
		}
	}
}

// remember takes note of the chunks that no finding touches.
func (c *scan) remember(list []chunk) {
	for _, k := range list {
		clean := true
		for _, f := range c.findings {
			clean = clean && f.Start >= 0 && (f.End+minChunk <= k.start || f.Start >= k.end+minChunk)
		}
		if clean {
			c.cache.add(k.pair)
		}
	}
}
