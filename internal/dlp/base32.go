package dlp

// base32Runs decodes runs of letters of one case and digits, with short separators.
func (c *scan) base32Runs(v *view, depth int) {
	least := c.least * 8 / 5
	if !c.work(len(v.data) / 4) {
		return
	}
	data, done := v.data, 0
	for i := least - 4; i < len(data); i += least - 4 {
		last := i
		for last > i-4 && c.kinds[data[last]] == 0 {
			last--
		}
		kind := c.kinds[data[last]]
		if kind == 0 || last < done {
			continue
		}
		start, end, symbols := c.base32Around(data, last, kind)
		if done = end; symbols >= least && start < end {
			c.packed(v, depth, c.base32, data[start:end], start)
			c.packed(v, depth, c.base32hex, data[start:end], start)
		}
	}
}

// base32Around is the run of one kind around i and how many symbols it has.
func (t *tables) base32Around(data []byte, i int, kind byte) (start, end, symbols int) {
	start, end = i, i
	both := kind
	for gap, j := 0, i; j >= 0; j-- {
		k := t.kinds[data[j]]
		if k&both == 0 {
			if gap++; k != 0 || gap > base32Gap(both, data[j]) {
				break
			}
			continue
		}
		both &= k
		start, symbols, gap = j, symbols+1, 0
	}
	for gap, j := 0, i+1; j < len(data); j++ {
		k := t.kinds[data[j]]
		if k&both == 0 {
			if gap++; k != 0 || gap > base32Gap(both, data[j]) {
				break
			}
			continue
		}
		both &= k
		end, symbols, gap = j+1, symbols+1, 0
	}
	return start, end, symbols
}

// base32Gap is how long a separator with ch may be. Rows of small letters are
// everywhere, so that only a new line separates these.
func base32Gap(kind, ch byte) int {
	switch {
	case kind != smalls:
		return 3
	case ch == '\n' || ch == '\r':
		return 2
	}
	return 0
}

const (
	capitals = 1 << iota
	smalls
)

func base32Kind(c byte) byte {
	switch {
	case isDigit(c):
		return capitals | smalls
	case c >= 'A' && c <= 'Z':
		return capitals
	case c >= 'a' && c <= 'z':
		return smalls
	}
	return 0
}
