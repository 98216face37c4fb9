package dlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// between puts something behind each character.
func between(s, separator string) string { return strings.Join(strings.Split(s, ""), separator) }

func mapped(f func(rune) rune) string { return strings.Map(f, canary) }

func TestDisguisesAreSeenThrough(t *testing.T) {
	s := newScanner(t, Options{})
	for name, data := range map[string]string{
		"zero-width spaces":     between(canary, "\u200b"),
		"joiners":               between(canary, "\u200d\u2060"),
		"soft hyphens":          between(canary, "\u00ad"),
		"direction marks":       between(canary, "\u202e"),
		"variation selectors":   between(canary, "\ufe0f"),
		"combining marks":       between(canary, "\u0301"),
		"byte order marks":      between(canary, "\ufeff"),
		"NUL, as UTF-16":        between(canary, "\x00"),
		"backspaces":            between(canary, "\b"),
		"full width":            mapped(func(r rune) rune { return r - '!' + 0xFF01 }),
		"tags":                  mapped(func(r rune) rune { return r + 0xE0000 }),
		"homoglyphs":            strings.NewReplacer("a", "а", "e", "е", "o", "ο", "p", "р", "c", "с", "K", "Κ", "J", "Ј", "T", "Т").Replace(canary),
		"accents":               strings.NewReplacer("o", "ö", "N", "Ñ", "c", "ç").Replace(canary),
		"mathematical":          mapped(bold),
		"other case":            strings.ToUpper(canary),
		"reversed":              string(reversed([]byte(canary))),
		"rot13":                 string(rot13([]byte(canary))),
		"reversed rot13":        string(reversed(rot13([]byte(canary)))),
		"blanks":                between(canary, " "),
		"dashes":                between(canary, "-"),
		"words of separators":   between(canary, " .,; "),
		"new lines":             between(canary, "\r\n"),
		"JSON list":             `["` + between(canary, `","`) + `"]`,
		"JSON list of pieces":   `{"a":["tok_Q7vR2m","Xz9LpK4w","Nc8JhT"]}`,
		"fields of an object":   `{"a":"tok_Q7vR2m","b":"Xz9LpK4w","c":"Nc8JhT"}`,
		"fields in disorder":    `{"c":"Nc8JhT","a":"tok_Q7vR2m","b":"Xz9LpK4w"}`,
		"concatenation":         `k = "tok_Q7vR2m" + "Xz9L" + 'pK4' + "wNc8JhT"`,
		"concatenation in JSON": `{"code":"k = \"tok_Q7\" +\n \"vR2mXz9L\" + \"pK4wNc8JhT\""}`,
		"query parameters":      "a=tok_Q7vR2m&b=Xz9LpK4w&c=Nc8JhT",
		"a path":                "/tok_Q7v/R2mXz9/LpK4wN/c8JhT/",
		"a host name":           "tok_q7vr2mxz9lpk4wnc8jht.example.com",
		"base64 of full width":  base64.StdEncoding.EncodeToString([]byte(mapped(func(r rune) rune { return r - '!' + 0xFF01 }))),
		"base64 in JSON lines":  `{"a":"` + strings.ReplaceAll(wrap(base64.StdEncoding.EncodeToString([]byte("x y z "+canary+" 1 2 3")), 8), "\r\n", `\n`) + `"}`,
		"base64 with dots":      between(base64.StdEncoding.EncodeToString([]byte(canary)), "."),
		"base64 in random":      base64.StdEncoding.EncodeToString(slices.Concat(randomBytes(50_001), []byte(canary), randomBytes(50_000))),
		"random":                string(slices.Concat(randomBytes(50_001), []byte(canary), randomBytes(50_000))),
		"hex in random":         hex.EncodeToString(slices.Concat(randomBytes(5001), []byte(canary), randomBytes(5000))),
		"far inside":            strings.Repeat("lorem ipsum dolor ", 20_000) + canary + strings.Repeat(" sit amet", 10_000),
		"gzip of much":          codingNamed("gzip").encode(strings.Repeat("lorem ipsum ", 50_000) + canary + strings.Repeat(" sit amet", 10_000)),
		"gzip cut short":        cut(codingNamed("gzip").encode(string(randomBytes(3000))+canary+string(randomBytes(3000))), 40),
		"git packet lines":      "0010tok_Q7vR2mXz0014" + "9LpK4wNc8JhT0000",
	} {
		t.Run(name, func(t *testing.T) {
			if !found(scanBody(t, s, []byte(data))) {
				t.Errorf("not found in %.200q", data)
			}
		})
	}
}

func cut(s string, n int) string { return s[:len(s)-n] }

func bold(r rune) rune {
	switch {
	case r >= 'a' && r <= 'z':
		return r - 'a' + 0x1D41A
	case r >= 'A' && r <= 'Z':
		return r - 'A' + 0x1D400
	case r >= '0' && r <= '9':
		return r - '0' + 0x1D7CE
	}
	return r
}

func codingNamed(name string) coding {
	all := codings()
	return all[slices.IndexFunc(all, func(c coding) bool { return c.name == name })]
}

func TestContentEncodings(t *testing.T) {
	s := newScanner(t, Options{})
	var br bytes.Buffer
	w := brotli.NewWriter(&br)
	_, _ = w.Write([]byte(canary))
	_ = w.Close()
	zs, _ := zstd.NewWriter(nil)
	bodies := map[string][]byte{
		"gzip": []byte(codingNamed("gzip").encode(canary)), "x-gzip": []byte(codingNamed("gzip").encode(canary)), "deflate": []byte(codingNamed("zlib").encode(canary)),
		"br": br.Bytes(), "zstd": zs.EncodeAll([]byte(canary), nil), "identity": []byte(canary),
		"br, gzip": []byte(codingNamed("gzip").encode(br.String())),
	}
	for encoding, data := range bodies {
		findings, err := s.Scan(context.Background(), Input{Kind: Body, ContentEncoding: encoding, Data: data})
		if err != nil || !found(findings) {
			t.Errorf("%s: %v, %v", encoding, findings, err)
		}
	}
	for name, in := range map[string]Input{
		"unknown": {ContentEncoding: "compress", Data: []byte("x")}, "no gzip": {ContentEncoding: "gzip", Data: []byte("x")}, "no br": {ContentEncoding: "br", Data: []byte("xxxxxxxx")},
		"no zstd": {ContentEncoding: "zstd", Data: []byte("xxxxxxxx")}, "cut short": {ContentEncoding: "gzip", Data: bodies["gzip"][:20]}, "too many": {ContentEncoding: "gzip,gzip,gzip,gzip", Data: bodies["gzip"]},
	} {
		in.Kind = Body
		if _, err := s.Scan(context.Background(), in); !errors.Is(err, ErrEncoding) {
			t.Errorf("%s: got %v, want %v", name, err, ErrEncoding)
		}
	}
}

// A small body that decompresses to gigabytes is refused, not searched for ever and not
// passed.
func TestBombsAreRefused(t *testing.T) {
	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	for range 80 {
		_, _ = w.Write(make([]byte, 1<<20))
	}
	_ = w.Close()
	s := newScanner(t, Options{})
	for name, in := range map[string]Input{"encoding": {ContentEncoding: "gzip", Data: bomb.Bytes()}, "inside": {Data: bomb.Bytes()}} {
		in.Kind = Body
		if _, err := s.Scan(context.Background(), in); !errors.Is(err, ErrBudget) {
			t.Errorf("%s: got %v, want %v", name, err, ErrBudget)
		}
	}
}

func TestScanEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := newScanner(t, Options{}).Scan(ctx, Input{Kind: Body, Data: chat(t, 100_000)}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

// The work that any data causes is bounded by its length, also where it was made to
// cause much.
func TestWorkIsBounded(t *testing.T) {
	e := newScanner(t, Options{CacheSize: -1}).engine()
	size := 200_000 / min(slower, 10)
	for name, data := range map[string][]byte{
		"one letter": bytes.Repeat([]byte("a"), size), "zeros": make([]byte, size), "JSON": chat(t, size), "random": randomBytes(size),
		"base64": []byte(base64.StdEncoding.EncodeToString(randomBytes(size * 3 / 4))), "base64 of text": []byte(base64.StdEncoding.EncodeToString(chat(t, size*3/4))),
		"base64 five times": nested(chat(t, size/5), 5), "percent signs": bytes.Repeat([]byte("%25"), size/3), "backslashes": bytes.Repeat([]byte(`\`), size),
		"ampersands": bytes.Repeat([]byte("&#"), size/2), "zlib headers": bytes.Repeat([]byte("x\x9c"), size/2), "gzip headers": bytes.Repeat([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00"), size/10),
		"zip headers": bytes.Repeat([]byte("PK\x03\x04\x00\x00\x00\x00\x08\x00"), size/10), "zstd headers": bytes.Repeat([]byte("\x28\xb5\x2f\xfd"), size/4),
		"PEM headers": bytes.Repeat([]byte("-----BEGIN PRIVATE KEY-----"), size/27), "JWT": bytes.Repeat([]byte("eyJh"), size/4), "prefixes": bytes.Repeat([]byte("sk-proj-"), size/8),
		"the known value but its end": bytes.Repeat([]byte(canary[:len(canary)-1]), size/len(canary)), "quotes": bytes.Repeat([]byte(`"`), size), "digits": bytes.Repeat([]byte("104,"), size/4),
		"base58": bytes.Repeat([]byte("z"), size), "base85": bytes.Repeat([]byte("87cURD]"), size/7), "zero-width": bytes.Repeat([]byte("\u200b"), size/3),
	} {
		t.Run(name, func(t *testing.T) {
			c := e.newScan(context.Background(), Input{Kind: Body, Data: data})
			c.document()
			t.Logf("%d passes, %d decoded: %v", c.worked/size, c.decoded/size, c.err)
			if c.worked > maxWork*(defaultBudget+size) || c.worked > 1000*size {
				t.Errorf("%d passes over the data", c.worked/size)
			}
		})
	}
}

// A body is made of short texts, each behind base64 and none like another, so that the
// scan fills memory with what it has seen.
func TestWhatAScanRemembersIsBounded(t *testing.T) {
	var data []byte
	for i := range 10_000 {
		data = fmt.Appendf(data, "text %d of many that differ\x00\xff", i*i)
	}
	data = []byte(base64.StdEncoding.EncodeToString(data))
	c := newScanner(t, Options{CacheSize: -1}).engine().newScan(context.Background(), Input{Kind: Body, Data: data})
	if c.document(); c.err != nil || len(c.seen) == 0 || len(c.seen) > 4096 {
		t.Errorf("%d views are remembered: %v", len(c.seen), c.err)
	}
}

func nested(data []byte, n int) []byte {
	for range n {
		data = []byte(base64.StdEncoding.EncodeToString(data))
	}
	return data
}

func TestSplitOverRequests(t *testing.T) {
	s := newScanner(t, Options{})
	memory := NewMemory(8)
	send := func(data string) []Finding {
		findings, err := s.Scan(context.Background(), Input{Kind: Body, Data: []byte(data), Memory: memory})
		if err != nil {
			t.Fatal(err)
		}
		return findings
	}
	for _, part := range []string{canary[14:], "nothing", canary[:7]} {
		if findings := send("part " + part); len(findings) > 0 {
			t.Fatalf("%q alone: %v", part, findings)
		}
	}
	if !found(send("the rest " + canary[7:14])) {
		t.Error("not found in four requests")
	}
	for range 8 {
		send(canary[:6])
	}
	if found(send(canary[14:])) {
		t.Error("what was sent long ago is still remembered")
	}
}

// However a body is cut, the write that holds the last byte of a secret reports it.
func TestStreamsTellInTime(t *testing.T) {
	s := newScanner(t, Options{})
	r := rand.New(rand.NewPCG(7, 8))
	for _, form := range []string{canary, base64.StdEncoding.EncodeToString([]byte("ab " + canary + " cd")), hex.EncodeToString([]byte(canary)), between(canary, " ")} {
		for _, before := range []int{0, 10, 5000, 300_000} {
			body := append(chat(t, 1_000_000)[:before], " "+form+" and more"...)
			last := before + 1 + len(form)
			stream, err := s.NewStream(Input{Kind: Body})
			if err != nil {
				t.Fatal(err)
			}
			told := -1
			for sent := 0; sent < len(body) && told < 0; {
				n := min(1+r.IntN(1+min(r.IntN(40_000), 2*len(body)/10+3)), len(body)-sent)
				findings, err := stream.Write(context.Background(), body[sent:sent+n])
				if err != nil {
					t.Fatal(err)
				}
				if sent += n; found(findings) {
					told = sent
					if f := findings[0]; f.Start >= 0 && (f.Start < before || f.End > last) {
						t.Errorf("at %d: found from %d to %d", before, f.Start, f.End)
					}
				}
				if told < 0 && sent >= last {
					t.Fatalf("%.40q at %d: not told when its last byte was sent", form, before)
				}
			}
		}
	}
}

// A body is sent a few bytes at a time, so that no write and none of the last ones holds
// the whole secret in its encoding: it is long, or far apart, or both.
func TestSecretsSplitOverManySmallWrites(t *testing.T) {
	s := newScanner(t, Options{})
	text := string(chat(t, 60_000))
	base64Of := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	each := func(format, s string) string {
		var out strings.Builder
		for _, c := range []byte(s) {
			fmt.Fprintf(&out, format, c)
		}
		return out.String()
	}
	jwt := base64Of(`{"alg":"HS256","typ":"JWT"}`) + "." + strings.TrimRight(base64Of(`{"sub":"`+randomToken(1400, 6)+`"}`), "=") + "." + randomToken(43, 7)
	for name, form := range map[string]string{
		"as it is":                   canary,
		"apart by blanks":            between(canary, strings.Repeat(" ", 300)),
		"apart by marks":             between(canary, strings.Repeat(".-", 100)),
		"apart by zero-width spaces": between(canary, strings.Repeat("\u200b", 40)),
		"base64":                     base64Of("x" + canary),
		"base64 of much":             base64Of(text[:6000] + canary),
		"base64 of much, in lines":   wrap(base64Of(text[:6000]+canary), 20),
		"base64 apart by blanks":     between(base64Of(canary), strings.Repeat(" ", 200)),
		"hex of much":                hex.EncodeToString([]byte(text[:4000] + canary)),
		"decimal numbers of much":    each("%d, ", "some text before "+strings.Repeat("and more ", 300)+canary),
		"reversed base64 of much":    string(reversed([]byte(base64Of(canary + text[:4000])))),
		"escapes of decimal numbers": each(`\u%04x`, each("%d,", canary)),
		"escapes of escapes":         each(`\u%04x`, each(`\u%04x`, each(`\u%04x`, canary))),
		"percent signs, base64":      each("%%%02X", base64Of(text[:2000]+canary)),
		"gzip":                       codingNamed("gzip").encode(string(randomBytes(5000)) + canary + string(randomBytes(100))),
		"base64 of gzip":             base64Of(codingNamed("gzip").encode(string(randomBytes(5000)) + canary + string(randomBytes(100)))),
		"a long JWT":                 strings.ReplaceAll(jwt, "=", ""),
	} {
		t.Run(name, func(t *testing.T) {
			for _, before := range []string{"", text[:20_000/slower] + " "} {
				r := rand.New(rand.NewPCG(9, uint64(len(before))))
				stream, err := s.NewStream(Input{Kind: Body})
				if err != nil {
					t.Fatal(err)
				}
				body, told := before+form, 0
				for sent := 0; sent < len(body) && told == 0; {
					n := min(1+r.IntN(300*min(slower, 5)), len(body)-sent)
					if sent < len(before) {
						n = min(4000, len(before)-sent)
					}
					findings, err := stream.Write(context.Background(), []byte(body[sent:sent+n]))
					if err != nil {
						t.Fatal(err)
					}
					sent += n
					told += len(findings)
				}
				if told == 0 {
					t.Errorf("behind %d bytes: not found in %d, of %.60q", len(before), len(form), form)
				}
			}
		})
	}
}

// Chains of encodings are seen through however they are cut. Of what is long only long
// words are read backwards, so that chains which need more are left out.
func TestChainsSplitOverSmallWrites(t *testing.T) {
	s := newScanner(t, Options{})
	text := chat(t, 40_000)
	r := rand.New(rand.NewPCG(10, 11))
	for range 120 / slower {
		data, names := randomChain(r, 1+r.IntN(4))
		if len(data) > 8000 || slices.Contains(names, "reversed") || slices.Contains(names, "rot13") {
			continue
		}
		at := r.IntN(12_000)
		body := slices.Concat(text[:at], []byte(" "+data))
		stream, err := s.NewStream(Input{Kind: Body})
		if err != nil {
			t.Fatal(err)
		}
		var findings []Finding
		for sent, n := 0, 0; sent < len(body) && !found(findings); sent += n {
			n = min(1+r.IntN(400), len(body)-sent)
			if findings, err = stream.Write(context.Background(), body[sent:sent+n]); err != nil {
				t.Fatal(err)
			}
		}
		if !found(findings) {
			t.Errorf("behind %d bytes: missed %v in %d bytes", at, names, len(data))
		}
	}
}

// What small writes cost goes with what they bring.
func TestSmallWritesAreCheap(t *testing.T) {
	s := newScanner(t, Options{})
	text := chat(t, 100_000/slower)
	work := func(size int) int {
		stream, err := s.NewStream(Input{Kind: Body})
		if err != nil {
			t.Fatal(err)
		}
		for sent := 0; sent < len(text); sent += size {
			if _, err := stream.Write(context.Background(), text[sent:min(sent+size, len(text))]); err != nil {
				t.Fatal(err)
			}
		}
		return stream.stream().worked / len(text)
	}
	whole, small, tiny := work(100_000), work(1000), work(100)
	t.Logf("passes over the data: %d in large writes, %d in writes of 1000 bytes, %d of 100", whole, small, tiny)
	if small > 12*whole || tiny > 50*whole {
		t.Errorf("%d passes in large writes, %d in writes of 1000 bytes, %d of 100", whole, small, tiny)
	}
}

func TestRedact(t *testing.T) {
	s := newScanner(t, Options{Actions: map[string]Action{RuleKnownValue: Redact}})
	for _, coding := range codings() {
		if coding.binary {
			continue
		}
		body, err := json.Marshal(map[string]string{"before": "it was", "text": "see " + coding.encode(canary) + " there", "after": "it is"})
		if err != nil {
			t.Fatal(err)
		}
		findings := scanBody(t, s, body)
		if !found(findings) || Worst(findings) != Redact {
			t.Errorf("%s: %v", coding.name, findings)
			continue
		}
		redacted := s.Redact(body, findings)
		var values map[string]string
		if err := json.Unmarshal(redacted, &values); err != nil || values["before"] != "it was" || values["after"] != "it is" {
			t.Errorf("%s: no longer the JSON it was: %s", coding.name, redacted)
		}
		if again := scanBody(t, s, redacted); len(again) > 0 {
			t.Errorf("%s: %v still in %s", coding.name, again, redacted)
		}
	}
}

func TestActions(t *testing.T) {
	s := newScanner(t, Options{Actions: map[string]Action{"aws-key-id": Alert}})
	findings := scanBody(t, s, []byte(keyID()))
	if len(findings) != 1 || Worst(findings) != Alert {
		t.Errorf("got %v", findings)
	}
	for name, actions := range map[string]map[string]Action{"no rule": {"nothing": Alert}, "no action": {"jwt": "ignore"}} {
		if _, err := New(Options{Actions: actions}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestOwnPlaceholderAndAudience(t *testing.T) {
	s := newScanner(t, Options{Known: []Value{{Name: "canary", Secret: []byte(canary), Placeholder: true}}})
	token := "sk-ant-" + "api03-" + randomToken(93, 1)
	for name, test := range map[string]struct {
		in   Input
		want []string
	}{
		"own placeholder":         {Input{Own: []string{"canary"}, Data: []byte(canary)}, nil},
		"another's placeholder":   {Input{Own: []string{"other"}, Data: []byte(canary)}, []string{RulePlaceholder}},
		"its provider":            {Input{Host: "api.anthropic.com", Data: []byte(token)}, nil},
		"its provider, otherwise": {Input{Host: "API.Anthropic.com.", Data: []byte(token)}, nil},
		"another host":            {Input{Host: "api.example.com", Data: []byte(token)}, []string{"anthropic-key"}},
		"a host that ends so":     {Input{Host: "evilanthropic.com", Data: []byte(token)}, []string{"anthropic-key"}},
		"presigned": {Input{Host: "bucket.s3.example.com", Data: []byte("/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" + keyID() + "%2F20260101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Signature=" +
			hex.EncodeToString(randomBytes(32)))}, nil},
		"presigned, older":  {Input{Host: "bucket.s3.example.com", Data: []byte("/k?AWSAccessKeyId=" + keyID() + "&Expires=1&Signature=vjbyPxybdZaNmGa%2ByT272YEAiv4%3D")}, nil},
		"presigned, Google": {Input{Host: "storage.example.com", Data: []byte("/b/k?X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential=a%40b.iam.gserviceaccount.com%2F20260101&X-Goog-Signature=" + hex.EncodeToString(randomBytes(256)))}, nil},
		"presigned, Azure":  {Input{Host: "a.blob.example.com", Data: []byte("/c/b?sv=2024-01-01&sr=b&sig=" + base64.URLEncoding.EncodeToString(randomBytes(32)) + "&se=2026-01-01")}, nil},
		"key without URL":   {Input{Data: []byte("key " + keyID())}, []string{"aws-key-id"}},
	} {
		for _, test.in.Kind = range []Kind{Path, Header, Body} {
			findings, err := s.Scan(context.Background(), test.in)
			var rules []string
			for _, f := range findings {
				rules = append(rules, f.Rule)
			}
			if err != nil || !slices.Equal(rules, test.want) {
				t.Errorf("%s in the %s: got %v, %v, want %v", name, test.in.Kind, findings, err, test.want)
			}
		}
	}
}

// Nothing that the package hands out shows a secret, however it is printed.
func TestNothingPrintsASecret(t *testing.T) {
	value := Value{Name: "canary", Secret: []byte(canary)}
	options := Options{Known: []Value{value}}
	s := newScanner(t, options)
	findings := scanBody(t, s, []byte(canary))
	stream, err := s.NewStream(Input{Kind: Body})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Write(context.Background(), []byte(canary)); err != nil {
		t.Fatal(err)
	}
	memory := NewMemory(2)
	type holder struct {
		s  *Scanner
		v  Scanner
		st *Stream
		m  *Memory
	}
	in := Input{Kind: Body, Data: []byte(canary)}
	for _, thing := range []any{value, &value, options, &options, s, *s, findings, findings[0], stream, *stream, memory, in, &in, holder{s, *s, stream, memory}, &holder{s, *s, stream, memory}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			text := fmt.Sprintf(verb, thing)
			for _, bad := range []string{canary, hex.EncodeToString([]byte(canary)), strings.ToUpper(hex.EncodeToString([]byte(canary))), "116 111 107", "0x74, 0x6f"} {
				if strings.Contains(text, bad) {
					t.Errorf("%s of %T: %s", verb, thing, text)
				}
			}
		}
	}
}

// Of a history that is sent again only what is new is searched, and still everything
// is found that it brings.
func TestHistoryIsSearchedOnce(t *testing.T) {
	s := newScanner(t, Options{})
	history := func(extra string) []byte {
		var list []map[string]string
		for i := range 40 {
			list = append(list, map[string]string{"content": fmt.Sprint(i, " ", string(chat(t, 9000)[200:])), "role": "user"})
		}
		data, err := json.Marshal(append(list, map[string]string{"content": extra}))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	work := func(data []byte) (int, []Finding) {
		c := s.engine().newScan(context.Background(), Input{Kind: Body, Data: data})
		c.document()
		return c.worked, c.findings
	}
	first, _ := work(history("hello"))
	again, _ := work(history("hello"))
	more, _ := work(history("hello, and more"))
	leak, findings := work(history("hello, and " + canary))
	t.Logf("first %d, again %d, with more %d, with a secret %d", first, again, more, leak)
	if again != 0 || more > first/8 || !found(findings) {
		t.Errorf("first %d, again %d, with more %d; %v", first, again, more, findings)
	}
	if _, findings := work(history("hello, and " + canary)); !found(findings) {
		t.Error("not found the second time")
	}
	in := Input{Host: "elsewhere.example.com", Kind: Body, Data: history("hello")}
	c := s.engine().newScan(context.Background(), in)
	if c.document(); c.worked == 0 {
		t.Error("clean for one host is clean for another")
	}
}

func TestConcurrentScans(t *testing.T) {
	s := newScanner(t, Options{CacheSize: 4})
	memory := NewMemory(2)
	t.Run("group", func(t *testing.T) {
		for i := range 8 {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for j := range 20 {
					data := fmt.Appendf(chat(t, 5000), "%d %d %s", i, j, canary)
					findings, err := s.Scan(context.Background(), Input{Kind: Body, Data: data, Memory: memory})
					if err != nil || !found(findings) {
						t.Errorf("%v, %v", findings, err)
					}
				}
			})
		}
	})
}

func randomToken(n int, seed uint64) string {
	const symbols = upper + lower + digits
	r := rand.New(rand.NewPCG(seed, 9))
	out := make([]byte, n)
	for i := range out {
		out[i] = symbols[r.IntN(len(symbols))]
	}
	return string(out)
}

// keyID is what an access key of AWS goes by.
func keyID() string { return "AKIA" + base32.StdEncoding.EncodeToString(randomBytes(10)) }

// A placeholder has the shape of what it stands for. Where it belongs it is no token either, as it is or
// encoded; anywhere else it is found, and so is a real token beside it.
func TestAPlaceholderOnItsRouteIsNoToken(t *testing.T) {
	const placeholder, real = "AIzaSyB3dE5fG7haB3dE5fG7hLq3dE5fG7haB3x", "AIzaSyQ9wE5rT7yuI3oP5aS7dFg9hJ1kL3zX5cV"
	s, err := New(Options{Known: []Value{{Name: "KEY", Secret: []byte(placeholder), Placeholder: true}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text string
		own  []string
		want []string
	}{
		"where it belongs":          {"the key is " + placeholder, []string{"KEY"}, nil},
		"in base64":                 {base64.StdEncoding.EncodeToString([]byte("the key is " + placeholder + " and more")), []string{"KEY"}, nil},
		"elsewhere":                 {"the key is " + placeholder, nil, []string{"google-api-key", RulePlaceholder}},
		"beside a token":            {placeholder + " or " + real, []string{"KEY"}, []string{"google-api-key"}},
		"where another one belongs": {"the key is " + placeholder, []string{"OTHER"}, []string{"google-api-key", RulePlaceholder}},
	} {
		found, err := s.Scan(t.Context(), Input{Host: "llm.corp.example", Kind: Body, Own: c.own, Data: []byte(c.text)})
		var rules []string
		for _, f := range found {
			rules = append(rules, f.Rule)
		}
		slices.Sort(rules)
		if err != nil || !slices.Equal(rules, c.want) {
			t.Errorf("%s: got %q, %v, want %q", name, rules, err, c.want)
		}
	}
}
