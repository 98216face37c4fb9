package dlp

import (
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"math"
	"slices"
)

// view is the data or something decoded from it.
type view struct {
	data    []byte
	parent  *view
	name    string // of the encoding; "" for one that is not worth naming
	turned  bool   // reversed or rot13: not turned again
	cutOut  bool   // of a large view
	escaped bool   // has lost its escapes, so quotes no longer tell strings
	joints  []int  // where strings were joined; what is in one of them was found before
	origin  func(start, end int) (int, int)
}

// locate is where in the original data a part of the view comes from; -1 when that is
// no one place.
func (v *view) locate(start, end int) (int, int) {
	for ; v.parent != nil; v = v.parent {
		if v.origin == nil {
			return -1, -1
		}
		start, end = v.origin(start, end)
		start, end = min(start, len(v.parent.data)), min(end, len(v.parent.data))
	}
	return start, end
}

// located reports whether what is found in the view has a place in the original data.
func (v *view) located() bool {
	for ; v.parent != nil; v = v.parent {
		if v.origin == nil {
			return false
		}
	}
	return true
}

func (v *view) encoding() []string {
	var names []string
	for ; v != nil; v = v.parent {
		if v.name != "" {
			names = append(names, v.name)
		}
	}
	slices.Reverse(names)
	return names
}

func (v *view) child(name string, data []byte, origin func(start, end int) (int, int)) *view {
	return &view{data: data, parent: v, name: name, origin: origin}
}

// part is a view of a part of another.
func (v *view) part(start, end int) *view {
	return &view{data: v.data[start:end], parent: v, turned: v.turned, origin: func(s, e int) (int, int) { return s + start, e + start }}
}

// scan is one search. It is used by one goroutine.
type scan struct {
	*engine
	ctx      context.Context
	in       Input
	decoded  int // bytes
	worked   int // bytes that some pass went over
	checked  int // worked, when ctx was last asked
	err      error
	findings []Finding
	pieces   []piece
	scratch  [][]byte
	runs     [][]run
	flates   []io.Reader // at rest
	salt     digest      // of the cache
	seen     map[seen]int
	end      int // where the data's last letters begin, if more is to come
	open     int // where begins what was found to go on there
	depth    int // encodings that may lie one inside the other
	packs    []packed
}

// seen is a small view that was searched; it is kept with the depth.
type seen struct {
	hash                    uint64
	turned, cutOut, located bool
}

func (e *engine) newScan(ctx context.Context, in Input) *scan {
	c := &scan{engine: e, ctx: ctx, in: in, checked: -checkEvery, end: math.MaxInt, depth: e.depth}
	if kept, ok := e.scratch.Get().(*[][]byte); ok {
		c.scratch = *kept
	}
	if kept, ok := e.flates.Get().(*[]io.Reader); ok {
		c.flates = *kept
	}
	return c
}

// lastLetters is how many letters may be behind what is taken to go on at the end of the
// data: symbols that are no whole byte yet, and the like.
const lastLetters = 16

// watch makes the scan take note of what may go on behind the end of the data.
func (c *scan) watch() {
	c.end, c.open = len(c.in.Data), len(c.in.Data)
	for n := 0; c.end > 0 && n < lastLetters; c.end-- {
		if isAlnum(c.in.Data[c.end-1]) {
			n++
		}
	}
}

// watched takes note of a part of a view, if that is at the end of the data.
func (c *scan) watched(v *view, start, end int) {
	if c.end == math.MaxInt {
		return
	}
	if from, to := v.locate(start, end); from >= 0 && to >= c.end {
		c.open = min(c.open, from)
	}
}

const (
	// checkEvery is how much work is done before ctx is asked again: about half a
	// millisecond.
	checkEvery = 256 << 10
	// maxWork bounds the passes over what was decoded, whatever it was.
	maxWork = 64
)

// done ends the scan. Its buffers go to the next one, unless they are large, and so do what
// inflates: each has a window of 32 KiB.
func (c *scan) done() ([]Finding, error) {
	c.scratch = slices.DeleteFunc(c.scratch, func(b []byte) bool { return cap(b) == 0 || cap(b) > maxScratch })
	c.engine.scratch.Put(&c.scratch)
	if len(c.flates) > 0 {
		c.engine.flates.Put(&c.flates)
	}
	return c.findings, c.err
}

// maxScratch is how large a buffer may be to be kept.
const maxScratch = 2 << 20

// work accounts for a pass over n bytes and reports whether to go on.
func (c *scan) work(n int) bool {
	c.worked += n
	if c.err == nil && c.worked-c.checked >= checkEvery {
		c.checked = c.worked
		if err := c.ctx.Err(); err != nil {
			c.err = fmt.Errorf("the scan was not finished: %w", context.Cause(c.ctx))
		}
	}
	if c.err == nil && c.worked > maxWork*(c.budget+len(c.in.Data)) {
		c.err = ErrBudget
	}
	return c.err == nil
}

// decode accounts for n bytes that were decoded and will be kept.
func (c *scan) decode(n int) bool {
	c.decoded += n
	if c.err == nil && c.decoded > c.budget {
		c.err = ErrBudget
	}
	return c.work(n)
}

// borrow is a buffer to be given back; they are few, since their users are nested no
// deeper than the views are.
func (c *scan) borrow() []byte {
	if n := len(c.scratch); n > 0 {
		b := c.scratch[n-1]
		c.scratch = c.scratch[:n-1]
		return b[:0]
	}
	return nil
}

func (c *scan) giveBack(b []byte) { c.scratch = append(c.scratch, b) }

// borrowRuns is the same for runs of text.
func (c *scan) borrowRuns() []run {
	if n := len(c.runs); n > 0 {
		r := c.runs[n-1]
		c.runs = c.runs[:n-1]
		return r[:0]
	}
	return nil
}

func (c *scan) giveBackRuns(r []run) { c.runs = append(c.runs, r) }

// view searches a view and everything that it can be decoded to.
func (c *scan) view(v *view, depth int) {
	if len(v.data) < gramLen || !c.work(len(v.data)) || c.again(v, depth) {
		return
	}
	c.search(v)
	c.cut(v)
	plain := v
	if folded, places := c.fold(v.data); folded != nil && c.decode(len(folded)) {
		plain = v.child("", folded, func(start, end int) (int, int) { return c.foldSpan(v.data, start, end) })
		plain.turned, plain.cutOut = v.turned, v.cutOut
		for len(places) > 0 {
			var start, end int
			start, end, places = neighbourhood(folded, places)
			c.search(plain.part(start, end))
		}
	}
	c.inflate(v, depth)
	if depth <= 0 || len(plain.data) < c.least*5/4 {
		return
	}
	unescaped := c.unescape(plain, depth)
	long := longRuns(c.borrowRuns(), plain.data, c.least*5/4)
	defer c.giveBackRuns(long)
	if unescaped {
		c.base85Runs(plain, depth, long) // whose symbols may look like escapes, and are broken without them
		return
	}
	c.symbols(plain, depth, long)
	if !v.turned {
		c.turn(plain, depth, long)
	}
}

// again reports whether the same bytes were searched before, as deep or deeper. Of a
// small text, ways to decode it meet again and again.
func (c *scan) again(v *view, depth int) bool {
	if len(v.data) > smallView {
		return false
	}
	if c.seen == nil {
		c.seen = map[seen]int{}
	}
	key := seen{maphash.Bytes(c.seed, v.data), v.turned, v.cutOut, v.located()}
	if before, ok := c.seen[key]; ok && before >= depth {
		return true
	}
	if len(c.seen) == maxSeen {
		clear(c.seen)
	}
	c.seen[key] = depth
	return false
}

// maxSeen bounds what is remembered of one scan: whoever wrote the data decides how many
// small views it has.
const maxSeen = 4096

// search looks for what is looked for in a view as it is, and with joints and
// separators left out.
func (c *scan) search(v *view) {
	c.literals(v)
	joined, places := join(c.borrow(), v.data)
	child := v.child("joined", joined, func(start, end int) (int, int) { return joinSpan(v.data, start, end) })
	for len(places) > 0 && c.err == nil {
		var start, end int
		start, end, places = neighbourhood(joined, places)
		c.literals(child.part(start, end))
	}
	c.giveBack(joined)
	if c.letters == nil || !c.work(len(v.data)) {
		return
	}
	letters := c.alnum.squeeze(c.borrow(), v.data)
	defer c.giveBack(letters)
	if len(letters) == len(v.data) {
		return
	}
	c.separated(v.child("separated", letters, func(start, end int) (int, int) { return letterSpan(v.data, start, end) }))
}

func letterSpan(data []byte, start, end int) (int, int) {
	first, last, n := len(data), len(data), 0
	for i, ch := range data {
		if !isAlnum(ch) {
			continue
		}
		if n == start {
			first = i
		}
		if n++; n == end {
			last = i + 1
			break
		}
	}
	return first, last
}

// turn searches a view reversed and with its letters rotated. Of a large one these are
// only the words with a stretch of letters that is long enough to be encoded; if that is
// still much, it is only tried as base64 and hex. Literals are looked for in these forms
// everywhere.
func (c *scan) turn(v *view, depth int, long []run) {
	words, starts := c.borrow(), []word{{0, 0}}
	if len(v.data) <= smallView && !v.cutOut {
		words = append(words, v.data...)
	} else {
		words, starts = c.longWords(words, v.data, c.least*5/4, long)
	}
	defer c.giveBack(words)
	if len(words) < c.least {
		return
	}
	n := len(words)
	straight := func(start, end int) (int, int) { return wordSpan(starts, start, end) }
	backwards := func(start, end int) (int, int) { return wordSpan(starts, n-end, n-start) }
	try := func(name string, origin func(int, int) (int, int)) {
		if !c.decode(n) {
			return
		}
		t := v.child(name, words, origin)
		t.turned = true
		if n > largeTurned {
			c.packed(t, depth-1, c.base64, words, 0)
			c.packed(t, depth-1, c.hex, words, 0)
			return
		}
		c.unescape(t, depth-1)
		long := longRuns(c.borrowRuns(), words, c.least*5/4)
		c.symbols(t, depth-1, long)
		c.giveBackRuns(long)
	}
	c.rotate(words)
	try("rot13", straight)
	slices.Reverse(words)
	try("reversed rot13", backwards)
	c.rotate(words)
	try("reversed", backwards)
}

// rotate rotates letters in place.
func (t *tables) rotate(text []byte) {
	for i, c := range text {
		text[i] = t.rotated[c]
	}
}

const (
	// smallView is how long a view may be to be turned whole.
	smallView = 4 << 10
	// largeTurned is how much is too much to be tried in every encoding.
	largeTurned = 64 << 10
)

// word is where a word of the view begins, there and among the long words.
type word struct{ there, here int }

// longWords appends the words of src with at least so many symbols of base64 on end,
// which are in its long runs, each with a blank behind it, and says where they stood.
func (e *engine) longWords(dst, src []byte, least int, long []run) ([]byte, []word) {
	var starts []word
	from := 0
	for _, one := range long {
		from = max(from, one.start)
		for last := from + least - 1; last < one.end; last = from + least - 1 {
			i := last
			for i >= from && !e.marks[src[i]] {
				i--
			}
			if i >= from {
				from = i + 1
				continue
			}
			start, end := from, last+1
			for start > 0 && src[start-1] > ' ' && from-start < farWord {
				start--
			}
			for end < len(src) && src[end] > ' ' {
				end++
			}
			if n := len(starts); n > 0 {
				start = max(start, starts[n-1].there+len(dst)-1-starts[n-1].here)
			}
			starts = append(starts, word{start, len(dst)})
			dst = append(append(dst, src[start:end]...), ' ')
			from = end + 1
		}
	}
	return dst, starts
}

func wordSpan(starts []word, start, end int) (int, int) {
	at := func(here int) int {
		n, found := slices.BinarySearchFunc(starts, here, func(w word, here int) int { return w.here - here })
		if !found {
			n--
		}
		return starts[n].there + here - starts[n].here
	}
	return at(start), at(end-1) + 1
}
