package egress

import (
	"bytes"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// Servers take a request for one of another method than was decided on, where a header, a
// parameter or a field of a form says so. Such requests are not carried.
const otherMethod = " that names another method is not carried"

// namesMethod reports whether a name is one of those, as servers read it: without regard
// to case, to what is written for "_", to an index behind it.
func namesMethod(name string) bool {
	return oneOf([]string{"_method", "x_http_method_override", "x_http_method", "x_method_override"}, name)
}

// methodInQuery reports whether a parameter of a query names another method.
func methodInQuery(query string) bool {
	between := func(c rune) bool { return c == '&' || c == ';' }
	for part := range strings.FieldsFuncSeq(query, between) {
		escaped, _, _ := strings.Cut(part, "=")
		if namesMethod(readName(escaped)) {
			return true
		}
	}
	return false
}

// fields looks at the names of a form's fields as the form passes, in pieces of any size.
type fields struct {
	names sought
	ends  string // the bytes that end a part of the form
	judge func(part string, ended, long bool) (refused bool)
	part  []byte // the beginning of the part under way
	long  bool   // there was more of it
}

// sought is what no field of a form may name.
type sought struct {
	named func(name string) bool
	maybe func(line string) bool // of what cannot be read as it should be
	why   string
}

// notInForms is what a route's forms must not hold: another method, and where the route has
// a credential, one of the bottle's own.
func notInForms(auth *policy.Auth) []sought {
	list := []sought{{namesMethod, mayNameMethod, otherMethod}}
	if auth != nil {
		named := func(name string) bool { return namesCredential(name) && !carried(auth, name) }
		list = append(list, sought{named, mayNameCredential, " is called like a credential, which is not carried where the route has its own; if it holds something else, the operator can name it in form_fields: of the route's auth:"})
	}
	return list
}

// carried reports whether the operator said that a field is none.
func carried(auth *policy.Auth, field string) bool {
	return slices.ContainsFunc(auth.FormFields, func(name string) bool { return plainName(name) == plainName(field) })
}

// maxPart is how much of a part is kept: its beginning holds the name.
const maxPart = 4 << 10

// formFields is for a body that a server may read as a form; of any other it is none. One
// without a type is read as one by some.
func formFields(h http.Header, not []sought) (all forms) {
	kind := strings.ToLower(strings.Join(h.Values("Content-Type"), ","))
	for _, names := range not {
		switch {
		case strings.Contains(kind, "multipart/"):
			all = append(all, &fields{names: names, ends: "\n", judge: (&multipartLines{names: names}).judge})
		case kind == "" || strings.Contains(kind, "x-www-form-urlencoded"):
			all = append(all, &fields{names: names, ends: "&;", judge: names.judgePair})
		}
	}
	return all
}

// forms are looks at the same form.
type forms []*fields

// look is an error once a field names what it must not; p must not go out then.
func (f forms) look(p []byte) error {
	for _, one := range f {
		if err := one.look(p); err != nil {
			return err
		}
	}
	return nil
}

func (f *fields) look(p []byte) error {
	for {
		end := bytes.IndexAny(p, f.ends)
		piece := p
		if end >= 0 {
			piece = p[:end]
		}
		room := maxPart - len(f.part)
		f.part, f.long = append(f.part, piece[:min(room, len(piece))]...), f.long || len(piece) > room
		if f.judge(string(f.part), end >= 0, f.long) {
			return &errUnsearched{reason: "a field of a form" + f.names.why}
		}
		if end < 0 {
			return nil
		}
		f.part, f.long, p = f.part[:0], false, p[end+1:]
	}
}

// judgePair judges "name=value" once its name is whole. The name may hide behind more
// spaces than are kept.
func (s sought) judgePair(pair string, ended, long bool) bool {
	escaped, _, whole := strings.Cut(pair, "=")
	if long && strings.Trim(strings.ReplaceAll(escaped, "%20", " "), " +%2") == "" {
		return true
	}
	return (whole || ended) && s.named(readName(escaped))
}

// readName undoes what escapes there are, "%u005f" (of IIS) among them, and leaves the rest
// as it stands: a bad one is no error to most servers.
func readName(escaped string) string {
	if plain, err := url.QueryUnescape(escaped); err == nil {
		return plain
	}
	var plain []byte
	for i := 0; i < len(escaped); i++ {
		c := escaped[i]
		if c == '+' {
			c = ' '
		} else if n, digits := number([]byte(escaped[min(i+1, len(escaped)):]), 2, 16); c == '%' && digits == 2 {
			c, i = byte(n), i+2
		} else if c == '%' && i+1 < len(escaped) && escaped[i+1]|0x20 == 'u' {
			if n, digits := number([]byte(escaped[i+2:]), 4, 16); digits == 4 {
				plain, i = utf8.AppendRune(plain, rune(n)), i+5
				continue
			}
		}
		plain = append(plain, c)
	}
	return string(plain)
}

// multipartLines are those of a multipart body (RFC 7578 §4.2). What cannot be read as it
// should be is taken for what it might be.
type multipartLines struct {
	names       sought
	disposition bool // the line before was one, or went on with one
}

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
		return m.names.maybe(line)
	}
	if !disposition {
		return false
	}
	_, parameters, err := mime.ParseMediaType(value)
	return err != nil && m.names.maybe(line) || m.names.namedInPart(strings.ReplaceAll(parameters["name"], `\`, ""))
}

// namedInPart looks at the name of a part, which some servers unescape, or decode as mail does
// (RFC 2047). In a charset that is not known here it may be any.
func (s sought) namedInPart(name string) bool {
	decoded, err := new(mime.WordDecoder).DecodeHeader(name)
	return err != nil || s.named(decoded) || s.named(readName(name))
}

func mayNameMethod(line string) bool { return strings.Contains(loosely(line), "_method") }

func mayNameCredential(line string) bool {
	plain := loosely(line)
	return strings.Contains(plain, "token") || strings.Contains(plain, "api_key") || strings.Contains(plain, "apikey")
}

// loosely is a line in which a name may be looked for, whatever was done to hide it.
func loosely(line string) string {
	plain := strings.ReplaceAll(strings.ToLower(line), `\`, "")
	if unescaped, err := url.PathUnescape(plain); err == nil {
		plain = unescaped
	}
	return strings.NewReplacer(".", "_", "-", "_", " ", "_").Replace(plain)
}
