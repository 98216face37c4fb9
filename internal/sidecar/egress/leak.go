package egress

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// minNeedle is the shortest value that is looked for: shorter ones occur by chance.
const minNeedle = 8

// needle is a secret, or its placeholder, in each form that is looked for. It must not
// be printed.
type needle struct {
	name  string // of the secret
	real  bool   // the value itself rather than its placeholder
	plain []byte
	forms [][]byte // plain and encoded; empty when too short to look for
}

func newNeedle(name, value string, real bool) needle {
	n := needle{name: name, real: real, plain: []byte(value)}
	if len(value) < minNeedle {
		return n
	}
	n.forms = append(n.forms, n.plain, []byte(hex.EncodeToString(n.plain)), []byte(strings.ToUpper(hex.EncodeToString(n.plain))))
	for shift := range 3 {
		n.forms = append(n.forms, shifted(base64.RawStdEncoding, n.plain, shift), shifted(base64.RawURLEncoding, n.plain, shift))
	}
	for _, escaped := range []string{url.QueryEscape(value), url.PathEscape(value)} {
		if !slices.ContainsFunc(n.forms, func(form []byte) bool { return string(form) == escaped }) {
			n.forms = append(n.forms, []byte(escaped))
		}
	}
	return n
}

// shifted is the middle of value's base64 form when shift bytes stand before it: the
// characters that depend on its neighbours are left off.
func shifted(e *base64.Encoding, value []byte, shift int) []byte {
	encoded := e.EncodeToString(append(make([]byte, shift), value...))
	first := (shift*8 + 5) / 6
	last := (shift + len(value)) * 8 / 6
	return []byte(encoded[first:last])
}

// leak is what a request must not carry.
type leak struct {
	secret string
	real   bool
}

func (l *leak) Error() string {
	if l.real {
		return fmt.Sprintf("the request carries the value of secret %s", l.secret)
	}
	return fmt.Sprintf("the request carries the placeholder of secret %s to a host that it is not for", l.secret)
}

// watch lists what must not go out on a route: every secret's value, and every
// placeholder but that of the route's own secret.
func (s secrets) watch(own string) []needle {
	return slices.DeleteFunc(slices.Clone(s.needles), func(n needle) bool {
		return len(n.forms) == 0 || !n.real && n.name == own
	})
}

// placeholder is what stands for a secret, where it must not be.
func (s secrets) placeholder(own string) []needle {
	return slices.DeleteFunc(slices.Clone(s.needles), func(n needle) bool {
		return len(n.forms) == 0 || n.real || n.name != own
	})
}

// checkHead looks through a request's method, target and headers, also with their
// escapes undone.
func checkHead(r *http.Request, watched []needle) error {
	if err := checkText(r.Method+" "+r.URL.String(), watched); err != nil {
		return err
	}
	for name, values := range r.Header {
		for _, value := range slices.Concat(values, []string{name}) {
			if err := checkText(value, watched); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkText(text string, watched []needle) error {
	for range 3 { // plain, escaped, escaped twice
		if n := find([]byte(text), watched); n != nil {
			return &leak{n.name, n.real}
		}
		if !escaped(text) {
			return nil
		}
		text = unescape(text)
	}
	return nil
}

// escaped reports whether unescape could change text.
func escaped(text string) bool { return strings.Contains(text, "%") || strings.Contains(text, `\u`) }

// unescape undoes what escapes it can, those of URLs and those of JSON for ASCII, and
// leaves the rest.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := hex.DecodeString(s[i+1 : i+3]); err == nil {
				b.WriteByte(c[0])
				i += 2
				continue
			}
		}
		if s[i] == '\\' && i+5 < len(s) && s[i+1:i+4] == "u00" {
			if c, err := hex.DecodeString(s[i+4 : i+6]); err == nil {
				b.WriteByte(c[0])
				i += 5
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func find(data []byte, watched []needle) *needle {
	for i := range watched {
		if slices.ContainsFunc(watched[i].forms, func(form []byte) bool { return bytes.Contains(data, form) }) {
			return &watched[i]
		}
	}
	return nil
}
