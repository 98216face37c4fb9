package pipelock

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Text is what a body says: the strings of a document in their order, the fields of a form,
// the parts of a multipart body, the lines of git's protocol, with a single space between
// them; that is the one separator behind which pipelock still finds what was cut in two. Its engine
// reads text and decodes no document. A body in no such form is its own text, without what
// cannot be printed.
func Text(contentType string, data []byte) string {
	kind, parameters, err := mime.ParseMediaType(contentType)
	if err != nil {
		kind = ""
	}
	var t texts
	switch {
	case strings.HasPrefix(kind, "multipart/") && t.multipart(data, parameters["boundary"]):
	case kind == "application/x-www-form-urlencoded":
		t.form(string(data))
	case strings.HasPrefix(kind, "application/x-git-") && t.packets(data):
	case t.documents(data):
	default:
		t = texts{}
		t.raw(data)
	}
	return t.b.String()
}

// AnswerText is the same of an answer, which may be cut short: of a JSON document, the strings up
// to there.
func AnswerText(contentType string, data []byte) string {
	if !isDocument(data) || !errors.Is(new(texts).tokens(data), io.ErrUnexpectedEOF) {
		return Text(contentType, data)
	}
	var longest string
	for trim := range min(len(`\u0000`), len(data)) { // it may be cut within an escape
		var t texts
		_ = t.tokens(append(data[:len(data)-trim:len(data)-trim], '"'))
		if t.b.Len() > len(longest) {
			longest = t.b.String()
		}
	}
	return longest
}

// texts collects strings.
type texts struct{ b strings.Builder }

func (t *texts) add(s string) {
	if s == "" {
		return
	}
	if t.b.Len() > 0 {
		t.b.WriteByte(' ')
	}
	t.b.WriteString(strings.ToValidUTF8(s, "\uFFFD"))
}

// documents reads JSON, one document after another; false if that is not what it is.
func (t *texts) documents(data []byte) bool {
	var mark texts
	if !isDocument(data) || mark.tokens(data) != nil {
		return false
	}
	t.add(mark.b.String())
	return true
}

func isDocument(data []byte) bool {
	first := bytes.TrimLeft(data, " \t\r\n")
	return len(first) > 0 && bytes.ContainsRune([]byte(`{["`), rune(first[0]))
}

// tokens adds the strings of JSON, up to where it is none any more.
func (t *texts) tokens(data []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if s, ok := token.(string); ok && !isMedia(s) {
			t.add(s)
		}
	}
}

// form reads fields, names and values as they are once decoded. What cannot be decoded is
// looked at as it stands.
func (t *texts) form(body string) {
	for part := range strings.FieldsFuncSeq(body, func(r rune) bool { return r == '&' || r == '=' || r == ';' }) {
		plain, err := url.QueryUnescape(part)
		if err != nil {
			plain = part
		}
		t.add(plain)
	}
}

// multipart reads parts with their heads; false if there are none.
func (t *texts) multipart(data []byte, boundary string) bool {
	if boundary == "" {
		return false
	}
	var mark texts
	for reader := multipart.NewReader(bytes.NewReader(data), boundary); ; {
		part, err := reader.NextRawPart()
		if errors.Is(err, io.EOF) {
			t.add(mark.b.String())
			return mark.b.Len() > 0
		}
		if err != nil {
			return false
		}
		for _, name := range slices.Sorted(maps.Keys(part.Header)) {
			mark.add(name)
			for _, value := range part.Header[name] {
				mark.add(value)
			}
		}
		content, err := io.ReadAll(part)
		if err != nil {
			return false
		}
		if !mark.documents(content) {
			mark.raw(content)
		}
	}
}

// packets reads git's pkt-lines; what follows them is a pack, of which only what can be
// printed is read. False if there is no line.
func (t *texts) packets(data []byte) bool {
	lines := 0
	for len(data) >= 4 {
		size, err := strconv.ParseUint(string(data[:4]), 16, 16)
		if err != nil || int(size) > len(data) || size == 3 {
			break
		}
		line := data[4:max(4, size)]
		data = data[max(4, size):]
		t.raw(line)
		lines++
	}
	t.raw(data)
	return lines > 0
}

// raw adds text as it is, and of anything else the runs that can be printed.
func (t *texts) raw(data []byte) {
	if utf8.Valid(data) && !bytes.ContainsRune(data, 0) {
		t.add(string(data))
		return
	}
	const shortest = 6
	printable := func(c byte) bool { return c >= 0x20 && c < 0x7f || c == '\t' }
	for from := 0; from < len(data); {
		to := from
		for to < len(data) && printable(data[to]) {
			to++
		}
		if to-from >= shortest {
			t.add(string(data[from:to]))
		}
		from = to + 1
	}
}

// leastMedia is the size of base64 from which on it takes pipelock too long to look at: an
// image of a MB takes 7 s. Our own scanner decodes it and looks at all of it.
const leastMedia = 1 << 10

// isMedia reports whether a string is base64, with "data:" before it or without, of what
// begins as an image does.
func isMedia(s string) bool {
	if len(s) < leastMedia {
		return false
	}
	if rest, ok := strings.CutPrefix(s, "data:image/"); ok {
		_, s, _ = strings.Cut(rest, ";base64,")
	}
	if len(s) < leastMedia {
		return false
	}
	head, err := base64.StdEncoding.DecodeString(s[:16])
	if err != nil || !onlyBase64(s) {
		return false
	}
	for _, magic := range []string{"\x89PNG\r\n\x1a\n", "\xff\xd8\xff", "GIF87a", "GIF89a"} {
		if strings.HasPrefix(string(head), magic) {
			return true
		}
	}
	return strings.HasPrefix(string(head), "RIFF") && strings.HasPrefix(string(head[8:]), "WEBP")
}

func onlyBase64(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '=' {
			continue
		}
		return false
	}
	return true
}
