package dlp

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"mime/multipart"
	"mime/quotedprintable"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// githubToken is of the right shape. Nothing of it is known before.
func githubToken() string { return "ghp_" + randomToken(36, 77) }

// Attack C7: a token that nobody has told us of is cut into the strings of a document, in
// each of the ways in which whoever reads the document puts it together again.
func TestAttackC7_TokensCutIntoDocuments(t *testing.T) {
	s := newScanner(t, Options{})
	token := githubToken()
	a, b, c := token[:13], token[13:27], token[27:]
	long := strings.Repeat("so it goes, and so on. ", 400)
	quote := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	type message map[string]any
	for name, data := range map[string]string{
		"list":                     quote([]string{a, b, c}),
		"indented list":            "[\n        \"" + a + "\",\n        \"" + b + "\",\n                            \"" + c + "\"\n]",
		"fields":                   fmt.Sprintf(`{"first":%q,"second":%q,"third":%q}`, a, b, c),
		"messages":                 quote([]message{{"role": "user", "content": a}, {"role": "user", "content": b}, {"role": "user", "content": c}}),
		"messages, at their ends":  quote([]message{{"role": "user", "content": long + a}, {"role": "assistant", "content": b}, {"role": "user", "content": c + " " + long}}),
		"texts of messages":        quote([]message{{"role": "user", "content": []message{{"type": "text", "text": long + a}, {"type": "text", "text": b}}}, {"role": "user", "content": []message{{"type": "text", "text": c}}}}),
		"escaped":                  `[{"r":1,"t":"` + strings.ReplaceAll(a, "_", `\u005f`) + `"},{"r":1,"t":"` + b + `"},{"r":1,"t":"` + c + `"}]`,
		"other fields between":     quote([]message{{"a": 1, "id": "x1", "t": a, "z": true}, {"a": 2, "id": "x2", "t": b}, {"a": nil, "id": "x3", "t": c}}),
		"JSON in JSON":             quote(message{"arguments": quote([]message{{"n": 1, "part": a}, {"n": 2, "part": b}, {"n": 3, "part": c}})}),
		"NDJSON":                   quote(message{"seq": 1, "part": a}) + "\n" + quote(message{"seq": 2, "part": b}) + "\n" + quote(message{"seq": 3, "part": c}) + "\n",
		"form":                     url.Values{"a": {a}, "b": {b}, "c": {c}}.Encode(),
		"form, long names":         url.Values{"the_first_of_the_parts_that_are": {a}, "the_second_of_the_parts_that_are": {b}, "the_third_of_the_parts_that_are": {c}}.Encode(),
		"query in a list":          `["see /x?part=` + a + "&part=" + b + "&part=" + c + `"]`,
		"packets of git":           fmt.Sprintf("%04x%s%04x%s%04x%s0000", len(a)+4, a, len(b)+4, b, len(c)+4, c),
		"packets of git, on bands": fmt.Sprintf("%04x\x02%s%04x\x02%s%04x\x02%s0000", len(a)+5, a, len(b)+5, b, len(c)+5, c),
		"JSON in JSON in JSON":     quote(quote(message{"arguments": quote([]message{{"n": 1, "part": a}, {"n": 2, "part": b}, {"n": 3, "part": c}})})),
		"parts":                    "--xyz\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n" + a + "\r\n--xyz\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\n" + b + "\r\n--xyz\r\n\r\n" + c + "\r\n--xyz--\r\n",
		"strings of protobuf":      "\x08\x01\x1a\x28" + strings.Repeat("x", 40) + "\x0a" + string(byte(len(a))) + a + "\x0a" + string(byte(len(b))) + b + "\x0a" + string(byte(len(c))) + c,
	} {
		t.Run(name, func(t *testing.T) {
			findings := scanBody(t, s, []byte(data))
			if !slices.ContainsFunc(findings, func(f Finding) bool { return f.Rule == "github-token" }) {
				t.Errorf("not found in %.300q", data)
			}
			if clean := scanBody(t, s, []byte(strings.NewReplacer(b, "and then", c, "nothing more than this").Replace(data))); len(clean) > 0 {
				t.Errorf("its beginning alone: %v", clean)
			}
		})
	}
}

// Attack C7: each kind of document carries a secret in the form that it is for.
func TestAttackC7_DocumentsThatEncode(t *testing.T) {
	s := newScanner(t, Options{})
	long := strings.Repeat("so it goes, and so on. ", 400)
	part := func(encoding, body string) string {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		for _, p := range []struct{ encoding, body string }{{"", "a field"}, {encoding, body}, {"binary", "\x00\x01\x02"}} {
			head := textproto.MIMEHeader{"Content-Disposition": {`form-data; name="x"; filename="y"`}}
			if p.encoding != "" {
				head.Set("Content-Transfer-Encoding", p.encoding)
			}
			out, err := w.CreatePart(head)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = out.Write([]byte(p.body))
		}
		_ = w.Close()
		return b.String()
	}
	quoted := func(text string) string {
		var b strings.Builder
		w := quotedprintable.NewWriter(&b)
		_, _ = w.Write([]byte(text))
		_ = w.Close()
		return b.String()
	}
	grpc := func(flag byte, message []byte) string {
		return string(flag) + string(binary.BigEndian.AppendUint32(nil, uint32(len(message)))) + string(message)
	}
	zipped := func(data []byte) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(data)
		_ = z.Close()
		return b.Bytes()
	}
	field := func(text string) []byte {
		return append(binary.AppendUvarint([]byte{0x12}, uint64(len(text))), text...)
	}
	for _, secret := range []string{canary, githubToken()} {
		text := long + "é = " + secret + ". " + long
		for name, data := range map[string]string{
			"multipart":                   part("", text),
			"multipart, base64":           part("base64", wrap(base64.StdEncoding.EncodeToString([]byte(text)), 76)),
			"multipart, quoted-printable": part("quoted-printable", quoted(text)),
			"multipart, a gzip of it":     part("base64", wrap(base64.StdEncoding.EncodeToString(zipped([]byte(text))), 76)),
			"form":                        url.Values{"a": {"1"}, "text": {text}}.Encode(),
			"gRPC":                        grpc(0, field(text)) + grpc(0, field("no")),
			"gRPC, nested":                grpc(0, field(string(field(string(field(text)))))),
			"gRPC, compressed":            grpc(1, zipped(field(text))) + grpc(0, field("no")),
			"a JSON string of JSON":       fmt.Sprintf("%q", fmt.Sprintf("%q", fmt.Sprintf("%q", text))),
		} {
			findings := scanBody(t, s, []byte(data))
			if !slices.ContainsFunc(findings, func(f Finding) bool { return f.Rule == RuleKnownValue || f.Rule == "github-token" }) {
				t.Errorf("%s, %.4s: %v", name, secret, findings)
			}
		}
	}
}

// Attack C7: the parts of a token come in one conversation, which is sent again with each
// turn, long texts between them. By then nearly all of it is known to be clean.
func TestAttackC7_ATokenCutIntoAHistory(t *testing.T) {
	s := newScanner(t, Options{})
	token := githubToken()
	var history []map[string]string
	turn := func(text string) []Finding {
		for i, content := range []string{text, encodeWords(50_000, uint64(len(history)))} {
			history = append(history, map[string]string{"role": []string{"user", "assistant"}[i], []string{"content", "answer"}[i]: content})
		}
		data, err := json.Marshal(history)
		if err != nil {
			t.Fatal(err)
		}
		return scanBody(t, s, data)
	}
	for _, text := range []string{"hello", token[:13], token[13:27]} {
		if findings := turn(text); len(findings) > 0 {
			t.Errorf("%s: %v", text, findings)
		}
	}
	if findings := turn(token[27:]); len(findings) != 1 || findings[0].Rule != "github-token" {
		t.Errorf("got %v", findings)
	}
}

// encodeWords is text without a secret, of so many letters and spaces.
func encodeWords(n int, seed uint64) string {
	const letters = "etaoinshrdlucmfw"
	r := rand.New(rand.NewPCG(seed, 31))
	b := make([]byte, n)
	for i := range b {
		if b[i] = letters[r.IntN(16)]; r.IntN(6) == 0 {
			b[i] = ' '
		}
	}
	return string(b)
}
