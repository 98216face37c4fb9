package dlp

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/ascii85"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"html"
	"math/big"
	"math/rand/v2"
	"mime/quotedprintable"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// canary is a known value as they are made: random letters and digits behind a prefix.
const canary = "tok_Q7vR2mXz9LpK4wNc8JhT"

func newScanner(t testing.TB, o Options) *Scanner {
	t.Helper()
	if o.Known == nil {
		o.Known = []Value{{Name: "canary", Secret: []byte(canary)}}
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func scanBody(t testing.TB, s *Scanner, data []byte) []Finding {
	t.Helper()
	findings, err := s.Scan(context.Background(), Input{Host: "api.example.com", Kind: Body, Data: data})
	if err != nil {
		t.Fatalf("%v, after %v", err, findings)
	}
	return findings
}

func found(findings []Finding) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool { return f.Rule == RuleKnownValue && f.Name == "canary" })
}

// coding writes text in a form that something could undo.
type coding struct {
	name   string
	encode func(string) string
	binary bool // what comes out is no text
}

func codings() []coding {
	each := func(format, between string) func(string) string {
		return func(s string) string {
			var parts []string
			for _, c := range []byte(s) {
				parts = append(parts, fmt.Sprintf(format, c))
			}
			return strings.Join(parts, between)
		}
	}
	std := base64.StdEncoding.EncodeToString
	return []coding{
		{"base64", func(s string) string { return std([]byte(s)) }, false},
		{"base64 raw", func(s string) string { return base64.RawStdEncoding.EncodeToString([]byte(s)) }, false},
		{"base64url", func(s string) string { return base64.URLEncoding.EncodeToString([]byte(s)) }, false},
		{"base64 late by one", func(s string) string { return std([]byte("x" + s)) }, false},
		{"base64 late by two", func(s string) string { return std([]byte("xy" + s)) }, false},
		{"base64 behind one letter", func(s string) string { return "q" + std([]byte(s)) }, false},
		{"base64 behind two letters", func(s string) string { return "qq" + std([]byte(s)) }, false},
		{"base64 behind three letters", func(s string) string { return "qqq" + std([]byte(s)) }, false},
		{"base64 in lines", func(s string) string { return wrap(std([]byte(s)), 16) }, false},
		{"base32", func(s string) string { return base32.StdEncoding.EncodeToString([]byte(s)) }, false},
		{"base32 small", func(s string) string { return strings.ToLower(base32.StdEncoding.EncodeToString([]byte(s))) }, false},
		{"base32hex", func(s string) string { return base32.HexEncoding.EncodeToString([]byte(s)) }, false},
		{"base58", encode58, false},
		{"ascii85", encodeASCII85, false},
		{"base85", func(s string) string {
			return encode85(s, digits+upper+lower+"!#$%&()*+-;<=>?@^_`{|}~")
		}, false},
		{"z85", func(s string) string { return encode85(s, digits+lower+upper+".-:+=^!/*?&<>()[]{}@%$#") }, false},
		{"hex", func(s string) string { return hex.EncodeToString([]byte(s)) }, false},
		{"HEX", func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) }, false},
		{"hex late", func(s string) string { return "a" + hex.EncodeToString([]byte(s)) }, false},
		{"hex 0x,", each("0x%02x", ", "), false},
		{`hex \x`, each(`\x%02x`, ""), false},
		{"hex :", each("%02X", ":"), false},
		{"hex blank", each("%02x", " "), false},
		{"percent", each("%%%02X", ""), false},
		{"query", url.QueryEscape, false},
		{"decimal entities", each("&#%d;", ""), false},
		{"hex entities", each("&#x%x;", ""), false},
		{"named entities", func(s string) string { return strings.ReplaceAll(html.EscapeString(s), "_", "&lowbar;") }, false},
		{`\u`, each(`\u%04x`, ""), false},
		{`\u{}`, each(`\u{%x}`, ""), false},
		{"quoted-printable", func(s string) string {
			var b strings.Builder
			w := quotedprintable.NewWriter(&b)
			_, _ = w.Write([]byte(s))
			_ = w.Close()
			return b.String()
		}, false},
		{"quoted-printable all", each("=%02X", ""), false},
		{"decimal list", func(s string) string { return "[" + each("%d", ", ")(s) + "]" }, false},
		{"octal escapes", each(`\%03o`, ""), false},
		{"octal list", each("%o", " "), false},
		{"0o octal", each("0o%o", ","), false},
		{"rot13", func(s string) string { return string(rot13([]byte(s))) }, false},
		{"reversed", func(s string) string { return string(reversed([]byte(s))) }, false},
		{"UTF-16", func(s string) string { return padEach(s, "", "\x00") }, true},
		{"UTF-16 big", func(s string) string { return padEach(s, "\x00", "") }, true},
		{"UTF-32", func(s string) string { return padEach(s, "", "\x00\x00\x00") }, true},
		{"gzip", func(s string) string {
			var b bytes.Buffer
			w := gzip.NewWriter(&b)
			_, _ = w.Write([]byte(s))
			_ = w.Close()
			return b.String()
		}, true},
		{"zlib", func(s string) string {
			var b bytes.Buffer
			w := zlib.NewWriter(&b)
			_, _ = w.Write([]byte(s))
			_ = w.Close()
			return b.String()
		}, true},
		{"zstd", func(s string) string {
			w, _ := zstd.NewWriter(nil)
			return string(w.EncodeAll([]byte(s), nil))
		}, true},
	}
}

func padEach(s, before, after string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteString(before + s[i:i+1] + after)
	}
	return b.String()
}

func wrap(s string, n int) string {
	var b strings.Builder
	for i := 0; i < len(s); i += n {
		b.WriteString(s[i:min(i+n, len(s))] + "\r\n")
	}
	return b.String()
}

func encode58(s string) string {
	const symbols = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	n, base, digit := new(big.Int).SetBytes([]byte(s)), big.NewInt(58), new(big.Int)
	var out []byte
	for n.Sign() > 0 {
		n.DivMod(n, base, digit)
		out = append(out, symbols[digit.Int64()])
	}
	return string(reversed(out))
}

func encodeASCII85(s string) string {
	out := make([]byte, ascii85.MaxEncodedLen(len(s)))
	return string(out[:ascii85.Encode(out, []byte(s))])
}

func encode85(s, symbols string) string {
	padded := append([]byte(s), make([]byte, (4-len(s)%4)%4)...)
	var out []byte
	for i := 0; i < len(padded); i += 4 {
		n := binary.BigEndian.Uint32(padded[i:])
		var group [5]byte
		for j := 4; j >= 0; j-- {
			group[j] = symbols[n%85]
			n /= 85
		}
		out = append(out, group[:]...)
	}
	return string(out[:len(out)-(len(padded)-len(s))])
}

func TestEachEncodingIsSeenThrough(t *testing.T) {
	s := newScanner(t, Options{})
	for _, coding := range codings() {
		t.Run(coding.name, func(t *testing.T) {
			for _, around := range []string{"%s", "before %s after", `{"key": "%s", "n": 1}`, "k=%s&l=m", "(%s)"} {
				if strings.HasPrefix(around, "{") && coding.name == "ascii85" {
					continue // its quotes would have to be escaped
				}
				data := fmt.Sprintf(around, coding.encode(canary))
				if !found(scanBody(t, s, []byte(data))) {
					t.Errorf("not found in %q", data)
				}
			}
		})
	}
}

// Chains of any of them: what is no text is only ever wrapped in what makes it text.
func TestChainsAreSeenThrough(t *testing.T) {
	s := newScanner(t, Options{})
	const runs = 3000 / slower
	missed := map[string]int{}
	r := rand.New(rand.NewPCG(1, 2))
	for range runs {
		data, names := randomChain(r, 1+r.IntN(5))
		if !found(scanBody(t, s, []byte(data))) {
			missed[strings.Join(names, " > ")]++
		}
	}
	n := 0
	for chain := range missed {
		if n++; n < 40 {
			t.Errorf("missed %s", chain)
		}
	}
	t.Logf("missed %d of %d", n, runs)
}

func randomChain(r *rand.Rand, depth int) (string, []string) {
	all, data := codings(), canary
	var names []string
	last := coding{}
	for len(names) < depth {
		next := all[r.IntN(len(all))]
		if !follows(next, last, data) || glues(next) && (slices.Contains(names, "base58") || behind85(names)) { // another number
			continue
		}
		data, last = next.encode(data), next
		names = append(names, next.name)
	}
	return data, names
}

// Text in UTF-16 and UTF-32, as PowerShell and Windows have it, behind other encodings.
func TestWideTextIsSeenThrough(t *testing.T) {
	s := newScanner(t, Options{})
	for _, wide := range []string{"UTF-16", "UTF-16 big", "UTF-32"} {
		for _, outer := range []string{"base64", "base64 late by one", "base64 late by two", "base64 in lines", "base32", "base32 small", "hex", "HEX", "hex late", "hex :", "percent", "gzip", "zstd"} {
			for _, before := range []string{"", "\xff\xfe", padEach("$env:KEY = ", "", "\x00")} {
				data := codingNamed(outer).encode(before + codingNamed(wide).encode(canary))
				if !found(scanBody(t, s, []byte("powershell -enc "+data))) {
					t.Errorf("%s behind %q, in %s: not found", wide, before, outer)
				}
			}
		}
	}
	utf7 := "+" + base64.RawStdEncoding.EncodeToString([]byte(codingNamed("UTF-16 big").encode(canary))) + "-"
	if !found(scanBody(t, s, []byte(utf7))) {
		t.Error("UTF-7: not found")
	}
}

// Chains that random ones once missed, each for a reason of its own.
func TestChainsThatWereMissed(t *testing.T) {
	s := newScanner(t, Options{})
	for _, chain := range []string{
		// Base85 holds what looks like escapes, here and there; its letters are not broken over them.
		`\u > decimal list > decimal entities > ascii85 > base85`, `\u{} > 0o octal > decimal entities > ascii85 > z85`,
		`decimal entities > base85 > named entities`, `gzip > percent > z85 > named entities`, `hex 0x, > base85 > named entities > 0o octal > quoted-printable all`,
		// Base85 of what says the same over and over may be letters and digits alone.
		`octal list > hex blank > hex \x > z85`, `percent > percent > percent > base64 behind three letters > z85`, `base64 > hex entities > \u{} > base85 > z85`,
		// The end of its last group is glued to what is none of it.
		`hex late > ascii85 > reversed > base64 late by one`,
		// A digit is glued to the first number.
		`octal list > base32 small > base64 late by one > base64 late by two`,
		// One word of more than four kilobytes, with an escape at its end.
		`\u > percent > \u > base32 small > query`,
	} {
		data := canary
		for name := range strings.SplitSeq(chain, " > ") {
			data = codingNamed(name).encode(data)
		}
		if !found(scanBody(t, s, []byte(data))) {
			t.Errorf("%s: not found in %d bytes", chain, len(data))
		}
	}
}

// follows leaves out what nothing could undo, or what is beyond a limit that the
// package states.
func follows(next, last coding, data string) bool {
	takesBinary := strings.HasPrefix(next.name, "base64") || strings.HasPrefix(next.name, "base32") || slices.Contains([]string{"hex", "HEX", "hex late", "hex :", "percent"}, next.name)
	switch {
	case last.binary && !takesBinary:
		return false
	case next.name == "base58" && len(data) > maxBase58*5/8:
		return false
	case (next.name == "reversed" || next.name == "rot13") && len(data) > smallView:
		return false
	}
	return true
}

// behind85 reports whether a letter in front would be read behind the last group of base85.
func behind85(names []string) bool {
	in85 := func(name string) bool { return strings.Contains(name, "85") }
	return slices.Contains(names, "reversed") && slices.ContainsFunc(names, in85)
}

// glues reports whether a coding puts letters in front. Read through whatever lies between,
// they may be another digit of a number.
func glues(c coding) bool {
	return strings.Contains(c.name, " late") || strings.Contains(c.name, " behind")
}
