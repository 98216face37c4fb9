package dlp

import (
	"bytes"
	"hash/maphash"
	"slices"
)

// minPiece is the shortest part of a known value that counts as one.
const minPiece = 5

// piece is a part of a known value that was seen.
type piece struct{ known, from, to int }

// literals looks in one view for everything that is looked for.
func (c *scan) literals(v *view) {
	if !c.work(len(v.data)) {
		return
	}
	var after []int // by known value, where its last piece ended
	c.text.each(v.data, func(i int, entry gram) {
		switch entry.kind {
		case gramRule:
			c.ruleAt(v, i-entry.offset, entry)
		case gramTurned:
			c.turnedAt(v, i-entry.offset, entry)
		case gramKnown:
			if after == nil {
				after = make([]int, len(c.known))
			}
			if i >= after[entry.index] {
				after[entry.index] = c.knownAt(v, i, entry)
			}
		}
	})
}

// separated looks for known values in a view of letters and digits only.
func (c *scan) separated(v *view) {
	if !c.work(len(v.data)) {
		return
	}
	c.letters.eachLong(v.data, func(i int, entry gram) {
		want := c.known[entry.index].letters
		start := i - entry.offset
		if start >= 0 && start+len(want) <= len(v.data) && bytes.Equal(v.data[start:start+len(want)], want) {
			c.reportKnown(v, entry.index, start, start+len(want), "")
		}
	})
}

// knownAt looks how much of a known value stands around i and says where it ends.
func (c *scan) knownAt(v *view, i int, entry gram) int {
	k := &c.known[entry.index]
	if start := i - entry.offset; start >= 0 && start+len(k.plain) <= len(v.data) && bytes.EqualFold(v.data[start:start+len(k.plain)], k.plain) {
		c.reportKnown(v, entry.index, start, start+len(k.plain), "")
		return start + len(k.plain)
	}
	from, to := entry.offset, entry.offset+gramLen
	if !bytes.Equal(v.data[i:i+gramLen], k.plain[from:to]) {
		return 0
	}
	at, end := i, i+gramLen
	for from > 0 && at > 0 && v.data[at-1] == k.plain[from-1] {
		from, at = from-1, at-1
	}
	for to < len(k.plain) && end < len(v.data) && v.data[end] == k.plain[to] {
		to, end = to+1, end+1
	}
	if to-from >= minPiece && len(c.pieces) < maxFindings {
		c.pieces = append(c.pieces, piece{entry.index, from, to})
	}
	return end - gramLen + 1
}

func (c *scan) turnedAt(v *view, start int, entry gram) {
	want := c.known[entry.index].turned[entry.form]
	if start >= 0 && start+len(want) <= len(v.data) && bytes.Equal(v.data[start:start+len(want)], want) {
		c.reportKnown(v, entry.index, start, start+len(want), turnNames[entry.form])
	}
}

var turnNames = [3]string{"reversed", "rot13", "reversed rot13"}

// ruleAt tries a rule whose literal, as it is or turned, begins at start.
func (c *scan) ruleAt(v *view, start int, entry gram) {
	r := &c.rules[entry.index]
	if start < 0 || !bytes.HasPrefix(v.data[min(start+entry.skip, len(v.data)):], entry.turned) || r.meantFor(c.in.Host) {
		return
	}
	if entry.form == 0 {
		from, to, ok := r.match(v.data, start)
		if v.joints != nil {
			from, to, ok = c.matchJoined(v, r, start)
		}
		if c.work(max(0, to-start)); ok && !c.ownPlaceholder(v.data[from:to]) {
			c.report(v, r.id, "", from, to, "")
		}
		return
	}
	if !c.work(2 * r.reach) {
		return
	}
	low, high := max(0, start-r.reach), min(len(v.data), start+r.reach)
	near := v.data[low:high]
	at := start - low
	if entry.form >= 2 {
		near = rot13(near)
	}
	if backwards := entry.form == 1 || entry.form == 3; backwards {
		near = reversed(near)
		if at = len(near) - at - entry.length; at < 0 {
			return
		}
	}
	from, to, ok := r.match(near, at)
	if !ok {
		return
	}
	if entry.form == 2 {
		c.report(v, r.id, "", low+from, low+to, "rot13")
		return
	}
	c.report(v, r.id, "", high-to, high-from, [4]string{1: "reversed", 3: "reversed rot13"}[entry.form])
}

// ownPlaceholder reports whether what has a token's shape has it from a placeholder that belongs on the
// route: that is worth nothing, and shaped like what it stands for.
func (c *scan) ownPlaceholder(token []byte) bool {
	return slices.ContainsFunc(c.known, func(k known) bool {
		return k.placeholder && slices.Contains(c.in.Own, k.name) && bytes.Contains(k.plain, token)
	})
}

// maxToken is how far from its literal a turned token is looked for.
const maxToken = 512

func (c *scan) reportKnown(v *view, index, start, end int, turned string) {
	k := &c.known[index]
	if k.placeholder && slices.Contains(c.in.Own, k.name) {
		return
	}
	c.report(v, k.rule(), k.name, start, end, turned)
}

func (c *scan) report(v *view, rule, name string, start, end int, turned string) {
	if v.joints != nil && !v.spans(start, end) {
		return // found where it stands
	}
	f := Finding{Rule: rule, Name: name, Encoding: v.encoding(), Action: c.action(rule)}
	if turned != "" {
		f.Encoding = append(f.Encoding, turned)
	}
	f.Start, f.End = v.locate(start, end)
	if start < end && end <= len(v.data) {
		f.Digest = maphash.Bytes(c.seed, v.data[start:end])
	}
	if slices.ContainsFunc(c.findings, func(old Finding) bool { return covers(old, f) }) {
		return
	}
	if len(c.findings) == maxFindings {
		c.err = ErrBudget
		return
	}
	c.findings = append(c.findings, f)
}

// covers reports whether f says nothing that old does not.
func covers(old, f Finding) bool {
	if f.Start < 0 && old.Digest != f.Digest {
		return false // another one that is in no one place
	}
	return old.Rule == f.Rule && old.Name == f.Name && old.Start <= f.Start && old.End >= f.End && (f.Start >= 0 || old.Start < 0)
}

// together reports known values all of whose parts were seen, here or in the requests
// before, wherever each stood.
func (c *scan) together(pieces []piece) {
	c.assemble(c.in.Memory.with(pieces))
	if !slices.ContainsFunc(c.findings, func(f Finding) bool { return f.Rule == RuleKnownValue || f.Rule == RulePlaceholder }) {
		c.in.Memory.keep(pieces)
	}
}

func (c *scan) assemble(seen []piece) {
	if len(seen) == 0 {
		return
	}
	for i := range c.known {
		k := &c.known[i]
		covered := make([]bool, len(k.plain))
		for _, p := range seen {
			if p.known == i {
				for j := p.from; j < p.to; j++ {
					covered[j] = true
				}
			}
		}
		known := func(f Finding) bool { return f.Name == k.name && f.Rule == k.rule() }
		if !slices.Contains(covered, false) && !slices.ContainsFunc(c.findings, known) {
			c.reportKnown(&view{parent: &view{}, name: "split"}, i, 0, 0, "")
		}
	}
}
