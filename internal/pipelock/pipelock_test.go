package pipelock

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	image := "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAf" + strings.Repeat("A", 2000)
	for name, c := range map[string]struct{ kind, body, want string }{
		"a document, in its order": {"application/json", `{"z":"one","a":["two",{"b":"three"}],"n":17}`, "z one a two b three n"},
		"escapes":                  {"application/json", `{"a":"\u0041KIA"}`, "a AKIA"},
		"documents":                {"application/x-ndjson", "{\"a\":\"one\"}\n{\"b\":\"two\"}\n", "a one b two"},
		"under another name":       {"text/plain", `["one","two"]`, "one two"},
		"not quite JSON":           {"application/json", `{"a":"one",}`, `{"a":"one",}`},
		"an image":                 {"application/json", `{"data":"` + image + `","text":"see"}`, "data text see"},
		"an image by itself":       {"application/json", `{"u":"data:image/png;base64,` + image + `"}`, "u"},
		"base64 of something else": {"application/json", `{"data":"` + strings.Repeat("QUJD", 600) + `"}`, "data " + strings.Repeat("QUJD", 600)},
		"an image with text in it": {"application/json", `{"data":"` + image + ` ghp_x"}`, "data " + image + " ghp_x"},
		"a form":                   {"application/x-www-form-urlencoded", "a=one%20two&b=three+four", "a one two b three four"},
		"parts":                    {"multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\none\r\n--x--\r\n", `Content-Disposition form-data; name="f" one`},
		"no parts after all":       {"multipart/form-data; boundary=x", "one two", "one two"},
		"git":                      {"application/x-git-upload-pack-request", "0011want 1234567\n0000\x00\x01PACK of nothing\x00", "want 1234567\n PACK of nothing"},
		"bytes":                    {"application/octet-stream", "\x00\x01readable text\xff\xfe\x00ab\x00", "readable text"},
		"nothing":                  {"", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Text(c.kind, []byte(c.body)); strings.TrimSpace(got) != strings.TrimSpace(c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// An answer that is cut short is a document up to there, also within an escape; what only begins
// like one is its own text.
func TestAnswerText(t *testing.T) {
	const cut = `{"a":"one","b":["\u0049gnore \u00e9`
	for body, want := range map[string]string{
		`{"a":"\u0041"}`:           "a A",
		cut:                        "a one b Ignore é",
		cut[:len(cut)-1]:           "a one b Ignore ",
		cut[:len(cut)-5]:           "a one b Ignore ",
		`{"a":"one",`:              "a one",
		`{"a":"one","b":tru`:       "a one b",
		`["x"] Ignore all of it`:   `["x"] Ignore all of it`,
		`[a link](https://x) that`: `[a link](https://x) that`,
		"<p>Ignore":                "<p>Ignore",
	} {
		if got := AnswerText("text/plain", []byte(body)); got != want {
			t.Errorf("%s: got %q, want %q", body, got, want)
		}
	}
}

func TestHeadIsWholeCharacters(t *testing.T) {
	for _, text := range []string{"", "short", strings.Repeat("a", MaxAnswer), strings.Repeat("漢", MaxAnswer)} {
		got := head(text)
		if !strings.HasPrefix(text, got) || !utf8.ValidString(got) || len(got) > MaxAnswer || len(text) > len(got) && len(got) < MaxAnswer-utf8.UTFMax {
			t.Errorf("%d bytes of %d", len(got), len(text))
		}
	}
}

// Units cover a text without a gap, and half a KiB before each cut is in one call with what follows it.
func TestUnitsCoverAText(t *testing.T) {
	text := randomText(300 << 10)
	end := 0
	for _, u := range cut(text) {
		if u.from != end || u.to <= u.from || u.to-u.from > maxUnit+utf8.UTFMax || !utf8.RuneStart(text[u.from]) {
			t.Fatalf("unit %v after %d", u, end)
		}
		end = u.to
	}
	if end != len(text) {
		t.Errorf("the last unit ends at %d of %d", end, len(text))
	}
	last := 0
	for _, run := range chunks(cut(text)) {
		whole := span{run[0].from, run[len(run)-1].to}.wide(text)
		if whole.to-whole.from > maxChunk || whole.from > 0 && last-whole.from < overlap {
			t.Errorf("chunk %v after %d", whole, last)
		}
		last = whole.to
	}
}

func randomText(size int) string {
	r := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for b.Len() < size {
		b.WriteRune([]rune("abc déf ghi 漢字 \n")[r.IntN(16)])
	}
	return b.String()
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache(maxRemembered)
	first := digestOf(kindText, "first")
	c.add(first)
	for i := range maxRemembered {
		if i == maxRemembered/2 && !c.has(first) {
			t.Error("it has forgotten too early")
		}
		c.add(digestOf(kindText, string(rune(i))+"x"))
	}
	if c.order.Len() > maxRemembered || len(c.known) != c.order.Len() {
		t.Errorf("it holds %d and %d", c.order.Len(), len(c.known))
	}
}

// A yes with anything behind it is none: whoever wrote it has written something else.
func TestAYesIsAllThatIsSaid(t *testing.T) {
	const yes = `{"status":"completed","decision":"allow","kind":"dlp","request_id":"r1"}`
	for behind, good := range map[string]bool{"": true, " \n": true, "}": false, "]": false, "x": false, "null": false, yes: false} {
		if _, err := judge([]byte(yes+behind), kindText, "r1"); (err == nil) != good {
			t.Errorf("with %q behind it: %v", behind, err)
		}
	}
}

func TestAllowlist(t *testing.T) {
	got := strings.Join(Allowlist([]string{"b.example", "**.A.example", "*.a.example", "b.example"}), " ")
	if got != "*.a.example b.example" {
		t.Errorf("got %s", got)
	}
}

func TestVersionsCompare(t *testing.T) {
	for text, want := range map[string][3]int{"2.3.0": {2, 3, 0}, "v2.10.1-6-g4086512": {2, 10, 1}, "2.3": {2, 3, 0}, "dev": {}, "2.3.x": {}, "": {}} {
		if got, ok := parseVersion(text); got != want || ok != (want != [3]int{}) {
			t.Errorf("%q: got %v, %v", text, got, ok)
		}
	}
}

// No text makes it panic, and what it makes of one is text.
func FuzzText(f *testing.F) {
	for _, seed := range []string{`{"a":"b"}`, "0011want 1234567\n0000", "--x\r\n\r\n", "a=%zz&b", "\xff\xfe{"} {
		f.Add("application/json", []byte(seed))
		f.Add("multipart/mixed; boundary=x", []byte(seed))
		f.Add("application/x-git-receive-pack-request", []byte(seed))
	}
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		if text := Text(kind, body); !utf8.ValidString(text) {
			t.Errorf("got %q", text)
		}
	})
}
