package dlp

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

// No data makes a scan panic, run on, or point outside of the data.
func FuzzScan(f *testing.F) {
	for _, coding := range codings() {
		f.Add([]byte("x "+coding.encode(canary)+" y"), "")
	}
	f.Add([]byte(codingNamed("gzip").encode(canary)), "gzip")
	f.Add([]byte(codingNamed("zstd").encode(canary)), "zstd, br")
	s := newScanner(f, Options{Budget: 1 << 20, Actions: map[string]Action{RuleKnownValue: Redact}})
	f.Fuzz(func(t *testing.T, data []byte, encoding string) {
		c := s.engine().newScan(context.Background(), Input{Kind: Body, ContentEncoding: encoding, Data: data})
		c.document()
		worked := c.worked
		findings, err := c.done()
		if err != nil && !errors.Is(err, ErrBudget) && !errors.Is(err, ErrEncoding) {
			t.Error(err)
		}
		if limit := 2 * maxWork * (1<<20 + len(data)); worked > limit {
			t.Errorf("%d bytes of work for %d", worked, len(data))
		}
		for _, f := range findings {
			if f.Start >= 0 && (f.End > len(data) || f.Start >= f.End) || f.Start < -1 {
				t.Errorf("%v lies outside of %d bytes", f, len(data))
			}
		}
		if redacted := s.Redact(data, findings); len(findings) == 0 && !bytes.Equal(redacted, data) {
			t.Error("changed without a finding")
		}
	})
}

// A secret is found behind any chain of encodings.
func FuzzChain(f *testing.F) {
	s := newScanner(f, Options{CacheSize: -1})
	for seed := range uint64(20) {
		f.Add(seed, uint8(seed))
	}
	f.Fuzz(func(t *testing.T, seed uint64, depth uint8) {
		data, names := randomChain(rand.New(rand.NewPCG(seed, 12)), 1+int(depth)%5)
		if !found(scanBody(t, s, []byte(data))) {
			t.Errorf("not found behind %v: %.500q", names, data)
		}
	})
}

// What is asked of packed symbols answers as a search of the bytes that they would be.
func FuzzLate(f *testing.F) {
	for _, text := range []string{canary, "short te", "\x1f\x8b\x08\x00 \x78\x9c \x50\x4b\x03\x04 \x28\xb5\x2f\xfd", mapped(bold) + mapped(bold)} {
		noise := randomBytes(200)
		for shift := range 8 {
			f.Add(shifted(nil, slices.Concat(noise[:100], []byte(text), noise[100:]), shift), len(text) > 10)
		}
	}
	e := newScanner(f, Options{}).engine()
	f.Fuzz(func(t *testing.T, packed []byte, long bool) {
		least := MinKnown
		if long {
			least = maxLeast
		}
		var texts byte
		eachText(packed, 0xFF, least, func(l late, _ int) (int, bool) {
			texts |= 0x80 >> l.shift
			return 0, false
		})
		compressed := map[begin]bool{}
		e.magics.each(packed, e.base32, func(l late, i int) { compressed[begin{l.shift, i}] = true })
		even := map[begin]bool{}
		e.magics.each(packed, e.base64, func(l late, i int) { even[begin{l.shift, i}] = true })
		for shift := range 8 {
			l := late{packed, shift}
			data := shifted(nil, packed, shift)
			textRuns(data, least, func(start, end int) {
				if texts&(0x80>>shift) == 0 {
					t.Errorf("%d late: text from %d to %d was not seen", shift, start, end)
				}
			})
			wide := false
			wideRuns(data, func(int, int) { wide = true })
			if wide != l.hasWide() {
				t.Errorf("%d late: disguised text is there: %v", shift, wide)
			}
			for _, format := range formats() {
				for at := format.next(data, 0); at >= 0; at = format.next(data, at+1) {
					if !compressed[begin{shift, at}] || shift%2 == 0 && !even[begin{shift, at}] {
						t.Errorf("%d late: %s at %d was not seen", shift, format.name, at)
					}
				}
			}
		}
	})
}

type begin struct{ shift, at int }

// What the decoders yield is bounded by what they are given.
func FuzzDecoders(f *testing.F) {
	for _, coding := range codings() {
		f.Add([]byte(coding.encode(canary)))
	}
	e := newScanner(f, Options{}).engine()
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, a := range []*alphabet{e.base64, e.base32, e.base32hex, e.hex} {
			symbols := a.squeeze(nil, data)
			packed := a.pack(nil, symbols)
			if len(symbols) > len(data) || len(packed) != (len(symbols)*a.width+7)/8 {
				t.Errorf("%s: %d symbols in %d bytes, packed in %d", a.name, len(symbols), len(data), len(packed))
			}
			for _, shift := range a.shifts {
				if late := shifted(nil, packed, shift); len(late) > len(packed) {
					t.Errorf("%s, %d late: %d of %d", a.name, shift, len(late), len(packed))
				}
			}
		}
		for _, kind := range []struct {
			one  func([]byte, int, []byte) ([]byte, int)
			next func([]byte, int) int
		}{{unescapeOne, nextEscape}, {unquoteOne, nextQuoted}} {
			if out, places := undo(nil, data, kind.one, kind.next); len(out) > len(data) || len(places) > len(data) {
				t.Errorf("%d bytes of %d", len(out), len(data))
			}
		}
		if folded, _ := e.fold(data); len(folded) > len(data) {
			t.Errorf("folded to %d of %d", len(folded), len(data))
		}
		if joined, _ := join(nil, data); len(joined) > len(data) {
			t.Errorf("joined to %d of %d", len(joined), len(data))
		}
		for _, runs := range []func(func(int, int)){
			func(yield func(int, int)) { textRuns(data, MinKnown, yield) }, func(yield func(int, int)) { wideRuns(data, yield) },
		} {
			runs(func(start, end int) {
				if start < 0 || end > len(data) || start >= end {
					t.Errorf("a run from %d to %d of %d", start, end, len(data))
				}
			})
		}
	})
}
