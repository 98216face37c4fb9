package egress

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// spellings are the ways in which an upstream may write one character.
func spellings() map[string]func(c byte) string {
	format := func(f string) func(byte) string { return func(c byte) string { return fmt.Sprintf(f, c) } }
	return map[string]func(byte) string{
		"plain": format("%c"), "JSON": format(`\u%04x`), "JSON, capitals": format(`\u%04X`), "JavaScript": format(`\x%02x`), "braces": format(`\u{%x}`), "C": format(`\%03o`),
		"Python": format(`\U%08x`), "URL": format("%%%02x"), "URL, capitals": format("%%%02X"), "HTML": format("&#%d;"), "HTML, zeros": format("&#%05d;"), "HTML, open": format("&#%d"), "HTML, hexadecimal": format("&#x%x;"), "HTML, capitals": format("&#X%X;"),
	}
}

// spell writes a text, each of its characters as the function says.
func spell(text string, how func(c byte) string) string {
	var b strings.Builder
	for i := range len(text) {
		b.WriteString(how(text[i]))
	}
	return b.String()
}

// leaks reports whether what came out gives more than the first letters of the key away:
// undone three times over, it holds no piece of it.
func leaks(out []byte) bool {
	has := func(text []byte) bool {
		for i := range len(realKey) - 2*minHeld {
			if bytes.Contains(text, []byte(realKey[i:i+2*minHeld])) {
				return true
			}
		}
		return false
	}
	if has(out) {
		return true
	}
	for v := (spelled{text: out}); v.undo(); {
		if has(v.text) {
			return true
		}
	}
	return false
}

// Attack C3: the upstream echoes the credential spelled out, every character of it or some,
// as JSON, HTML, a URL or a program would, one in the other, and in pieces.
func TestAttackC3_SpelledOutEchoesAreMasked(t *testing.T) {
	plain := spellings()["plain"]
	for name, how := range spellings() {
		for kind, text := range map[string]string{
			"whole":    spell(realKey, how),
			"second":   spell(realKey[:1], plain) + spell(realKey[1:], how),
			"one":      realKey[:5] + spell(realKey[5:6], how) + realKey[6:],
			"in JSON":  quoted(spell(realKey, how)),
			"twice":    quoted(quoted(realKey[:3] + spell(realKey[3:], how))),
			"in HTML":  html.EscapeString(spell(realKey, how)),
			"in a URL": url.QueryEscape(spell(realKey, how)),
		} {
			for _, size := range []int{1, 2, 3, 7, 64, 1 << 16} {
				got := maskedIn(t, "before "+text+" after", func(r io.Reader) io.Reader { return &pieces{r, size} })
				if leaks([]byte(got)) || !strings.HasPrefix(got, "before ") || !strings.HasSuffix(got, " after") || len(got) != len("before "+text+" after") {
					t.Errorf("%s, %s, %d at a time: got %q of %q", name, kind, size, got, text)
				}
			}
		}
	}
}

func quoted(s string) string {
	data, _ := json.Marshal(s)
	return string(data)
}

// Attack C3: the same in the value of a header, and in its name in other letters.
func TestAttackC3_SpelledOutInHeaders(t *testing.T) {
	e := testEchoes()
	for _, text := range []string{realKey, url.QueryEscape(realKey), spell(realKey, spellings()["URL"]), base64.StdEncoding.EncodeToString([]byte("x:" + realKey))} {
		if got := e.maskText("Bearer " + text + "; x"); leaks([]byte(got)) || strings.Contains(got, text) || !strings.HasSuffix(got, "; x") {
			t.Errorf("got %q", got)
		}
		if !e.names("X-" + strings.ToUpper(realKey)) {
			t.Error("a name passes")
		}
	}
	if clean := "text/html; charset=utf-8 50% \\o/ &c"; e.maskText(clean) != clean || e.names("Content-Type") {
		t.Error("what is clean was changed")
	}
}

// Whatever is escaped around it and however it is cut: clean text comes through as it was,
// and the key does not come through.
func FuzzEchoes(f *testing.F) {
	f.Add([]byte(`{"a":"\u0073\\u0073","b":"%41&amp;&#x41;"}`), uint64(1))
	f.Fuzz(func(t *testing.T, around []byte, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 2))
		hows, all := []func(byte) string{}, spellings()
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if name != "HTML, open" { // before a digit it is another number
				hows = append(hows, all[name])
			}
		}
		if bytes.Contains(around, []byte(realKey[:minHeld])) || leaks(around) {
			return
		}
		size := 1 + r.IntN(100)
		cuts := func(in io.Reader) io.Reader { return &pieces{in, size} }
		if got := maskedIn(t, string(around), cuts); got != string(around) && !testEchoes().found(around) {
			t.Fatalf("%q became %q", around, got)
		}
		key := spell(realKey, func(c byte) string { return hows[r.IntN(len(hows))](c) })
		for range r.IntN(2) {
			key = quoted(key)
		}
		got := maskedIn(t, string(around)+" "+key+" "+string(around), cuts)
		if middle := got[len(around):]; leaks([]byte(middle[:len(key)+2])) {
			t.Fatalf("%q in pieces of %d: %q came through", key, size, middle)
		}
	})
}

// found reports whether there is anything to mask.
func (e *echoes) found(text []byte) bool {
	clone := bytes.Clone(text)
	e.mask(clone)
	return !bytes.Equal(clone, text)
}

// One pass finds what many would.
func FuzzFinder(f *testing.F) {
	f.Add([]byte("abcdefgh"), []byte("xxabcdefghyy"), uint8(3))
	f.Fuzz(func(t *testing.T, form, text []byte, n uint8) {
		if len(form) < 8 {
			return
		}
		forms := [][]byte{form}
		for i := range int(n % 4) {
			if len(form)-i >= 8 {
				forms = append(forms, form[i:])
			}
		}
		finder := newFinder(forms)
		got := map[string]int{}
		find(finder, text, func(from, to int) { got[string(text[from:to])]++ })
		want := map[string]int{}
		for _, form := range forms {
			for i := range text {
				if bytes.HasPrefix(text[i:], form) {
					want[string(form)]++
				}
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q in %q: got %v, want %v", forms, text, got, want)
		}
		begun := 0
		for _, form := range forms {
			for k := 1; k < len(form) && k <= len(text); k++ {
				if bytes.HasSuffix(text, form[:k]) {
					begun = max(begun, k)
				}
			}
		}
		if got := finder.begun(text, 1); got != begun {
			t.Errorf("%q at the end of %q: got %d, want %d", forms, text, got, begun)
		}
	})
}

func BenchmarkMask(b *testing.B) {
	e := testEchoes()
	for name, text := range map[string]string{
		"plain": strings.Repeat("The quick brown fox jumps over the lazy dog and on. ", 700),
		"JSON":  strings.Repeat(`{"type":"content_block_delta","delta":{"text":"a line\n\tand \"one\" more"}}`, 450),
	} {
		b.Run(name, func(b *testing.B) {
			data := []byte(text)
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				e.mask(data)
				e.begun(data, minHeld)
			}
		})
	}
}
