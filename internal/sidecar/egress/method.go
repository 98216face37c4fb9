package egress

import (
	"bytes"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Servers take a request for one of another method than was decided on, where a header, a
// parameter or a field of a form says so. Such requests are not carried.
const otherMethod = " that names another method is not carried"

// namesMethod reports whether a name is one of those, as servers read it: without regard
// to case, to what is written for "_", to an index behind it.
func namesMethod(name string) bool {
	name, _, _ = strings.Cut(strings.TrimSpace(name), "[")
	name, _, _ = strings.Cut(name, "\x00")
	plain := strings.NewReplacer("_", "-", ".", "-", " ", "-").Replace(strings.ToLower(name))
	return slices.Contains([]string{"-method", "x-http-method-override", "x-http-method", "x-method-override"}, plain)
}

// otherMethodIn says where a request's head names another method, "" if it does not.
func otherMethodIn(r *http.Request) string {
	for name := range r.Header {
		if namesMethod(name) {
			return "a header"
		}
	}
	between := func(c rune) bool { return c == '&' || c == ';' }
	for part := range strings.FieldsFuncSeq(r.URL.RawQuery, between) {
		escaped, _, _ := strings.Cut(part, "=")
		if name, err := url.QueryUnescape(escaped); err == nil && namesMethod(name) {
			return "a parameter"
		}
	}
	return ""
}

// fields looks at the names of a form's fields as the form passes, in pieces of any size.
type fields struct {
	ends  string // the bytes that end a part of the form
	judge func(part string, ended, long bool) (refused bool)
	part  []byte // the beginning of the part under way
	long  bool   // there was more of it
}

// maxPart is how much of a part is kept: its beginning holds the name.
const maxPart = 4 << 10

// formFields is nil for a body that no server reads as a form. One without a type is read
// as one by some.
func formFields(h http.Header) *fields {
	kind := strings.ToLower(strings.Join(h.Values("Content-Type"), ","))
	switch {
	case strings.Contains(kind, "multipart/"):
		return &fields{ends: "\n", judge: (&multipartLines{}).judge}
	case kind == "" || strings.Contains(kind, "x-www-form-urlencoded"):
		return &fields{ends: "&;", judge: judgePair}
	}
	return nil
}

// look is an error once a field names another method; p must not go out then. It may be
// called on nil.
func (f *fields) look(p []byte) error {
	for f != nil {
		end := bytes.IndexAny(p, f.ends)
		piece := p
		if end >= 0 {
			piece = p[:end]
		}
		room := maxPart - len(f.part)
		f.part, f.long = append(f.part, piece[:min(room, len(piece))]...), f.long || len(piece) > room
		if f.judge(string(f.part), end >= 0, f.long) {
			return &errUnsearched{reason: "a field of a form" + otherMethod}
		}
		if end < 0 {
			return nil
		}
		f.part, f.long, p = f.part[:0], false, p[end+1:]
	}
	return nil
}

// judgePair judges "name=value" once its name is whole. The name may hide behind more
// spaces than are kept.
func judgePair(pair string, ended, long bool) bool {
	escaped, _, whole := strings.Cut(pair, "=")
	if long && strings.Trim(strings.ReplaceAll(escaped, "%20", " "), " +%2") == "" {
		return true
	}
	name, err := url.QueryUnescape(escaped)
	return (whole || ended) && err == nil && namesMethod(name)
}

// multipartLines are those of a multipart body (RFC 7578 §4.2). What cannot be read as it
// should be is taken for what it might be.
type multipartLines struct{ disposition bool } // the line before was one, or went on with one

func (m *multipartLines) judge(line string, ended, long bool) bool {
	line = strings.TrimSuffix(line, "\r")
	name, value, _ := strings.Cut(line, ":")
	disposition := strings.EqualFold(strings.TrimSpace(name), "Content-Disposition")
	folded := m.disposition && strings.IndexAny(line, " \t") == 0
	switch {
	case long && (disposition || folded):
		return true
	case !ended:
		return false
	}
	m.disposition = disposition || folded
	if folded {
		return mayNameMethod(line)
	}
	if !disposition {
		return false
	}
	_, parameters, err := mime.ParseMediaType(value)
	return err != nil && mayNameMethod(line) || namesMethod(strings.ReplaceAll(parameters["name"], `\`, ""))
}

func mayNameMethod(line string) bool {
	plain := strings.ReplaceAll(strings.ToLower(line), `\`, "")
	if unescaped, err := url.PathUnescape(plain); err == nil {
		plain = unescaped
	}
	return strings.Contains(strings.NewReplacer(".", "_", "-", "_", " ", "_").Replace(plain), "_method")
}
