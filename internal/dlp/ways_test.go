package dlp

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// packedSlowly is what squeeze and pack say of themselves.
func packedSlowly(a *alphabet, src []byte) []byte {
	var text strings.Builder
	for i, c := range src {
		prefix := a.prefix && c == '0' && i+1 < len(src) && src[i+1]|0x20 == 'x'
		if value := a.values[c]; value < prefixMark && !prefix {
			fmt.Fprintf(&text, "%0*b", a.width, value)
		}
	}
	var packed []byte
	for one := range slices.Chunk([]byte(text.String()), 8) {
		var value byte
		for i := range 8 {
			value <<= 1
			if i < len(one) {
				value |= one[i] - '0'
			}
		}
		packed = append(packed, value)
	}
	return packed
}

// text85Slowly asks every place.
func text85Slowly(t *tables, run []byte, least int) (phases [3]uint8) {
	groups := 2
	if least >= 16 {
		groups = 3
	}
	for phase := range 5 {
		for i := phase + 5*(groups-1); i+5 <= len(run); i += 5 * groups {
			for a := range t.base85 {
				if textGroups(&t.base85[a], run, i, groups) {
					phases[a] |= 1 << phase
				}
			}
		}
	}
	return phases
}

// longRunsSlowly looks at each byte.
func longRunsSlowly(text []byte, least int) (runs []run) {
	start := 0
	for i := 0; i <= len(text); i++ {
		if i < len(text) && text[i] > ' ' && text[i] < 0x7F {
			continue
		}
		if i-start >= least {
			runs = append(runs, run{start, i})
		}
		start = i + 1
	}
	return runs
}

// longWordsSlowly asks every place of the whole text.
func longWordsSlowly(e *engine, src []byte, least int) (dst []byte, starts []word) {
	for from, last := 0, least-1; last < len(src); last = from + least - 1 {
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
	return dst, starts
}

// base58Slowly is where the runs of its alphabet are.
func base58Slowly(e *engine, text []byte, least int) (runs []run) {
	start := 0
	for i := 0; i <= len(text); i++ {
		if i < len(text) && e.base58[text[i]] != noSymbol {
			continue
		}
		if i-start >= least {
			runs = append(runs, run{start, i})
		}
		start = i + 1
	}
	return runs
}

// FuzzWays: the short ways of the decoders lead where the long ones do.
func FuzzWays(f *testing.F) {
	noise := randomBytes(100)
	for _, seed := range []string{
		"", "0x", "0X0x00xx0", "x0x0X0", strings.Repeat("0x41,0X42 ", 9), hex.EncodeToString(noise), base64.StdEncoding.EncodeToString(noise), string(noise),
		"a\tb\r\nc\x7fd\x00e\x1ff\u200bg\xff\xfe", "87cURD]i,\"Ebo80~ <~9jqo^BlbD-BleB1DJ+*+F(f,q~>", canary, "MFRGGZDF MZTWQ2LK", "AAAAAAAAAAAAAAAAAAAAAé" + strings.Repeat("B", 25) + " C\x7fDDDDDDDDDDDDDDDDDDDDDDDDDDDD", strings.Repeat("A", 7) + "-_=" + strings.Repeat("\n/+", 5),
	} {
		f.Add([]byte(seed))
	}
	e := newScanner(f, Options{}).engine()
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, a := range []*alphabet{e.base64, e.base32, e.base32hex, e.hex} {
			if got, want := a.pack([]byte("before"), a.squeeze(nil, data)), packedSlowly(a, data); !bytes.Equal(got, append([]byte("before"), want...)) {
				t.Errorf("%s of %q: got %x, want %x", a.name, data, got[6:], want)
			}
		}
		for _, least := range []int{MinKnown, maxLeast} {
			for run := range bytes.FieldsFuncSeq(data, func(r rune) bool { return r <= ' ' || r >= 0x7F }) {
				if got, want := e.text85(run, least), text85Slowly(e.tables, run, least); got != want {
					t.Errorf("base85 in %q, %d bytes: got %v, want %v", run, least, got, want)
				}
			}
		}
		for _, least := range []int{MinKnown, maxLeast} {
			long := longRuns(nil, data, least*5/4)
			if want := longRunsSlowly(data, least*5/4); !slices.Equal(long, want) {
				t.Errorf("%q: got long runs %v, want %v", data, long, want)
			}
			words, starts := e.longWords(nil, data, least*5/4, long)
			if text, at := longWordsSlowly(e, data, least*5/4); !bytes.Equal(words, text) || !slices.Equal(starts, at) {
				t.Errorf("%q: got words %q %v, want %q %v", data, words, starts, text, at)
			}
			var runs []run
			for _, one := range long {
				e.base58In(data, least*4/3, one, func(start, end int) { runs = append(runs, run{start, end}) })
			}
			if want := base58Slowly(e, data, least*4/3); !slices.Equal(runs, want) {
				t.Errorf("%q: got base58 %v, want %v", data, runs, want)
			}
		}
		if got, want := plainLen(data), plainSlow(data); got != want {
			t.Errorf("%q: got %d plain, want %d", data, got, want)
		}
	})
}
