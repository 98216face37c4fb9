package egress

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
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
	if escaped := url.QueryEscape(value); escaped != value {
		n.forms = append(n.forms, []byte(escaped))
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

// checkHead looks through a request's target and headers, also with their escapes
// undone.
func checkHead(r *http.Request, watched []needle) error {
	if err := checkText(r.URL.String(), watched); err != nil {
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
		if !strings.Contains(text, "%") {
			return nil
		}
		text = unescape(text)
	}
	return nil
}

// unescape undoes what percent-escapes it can and leaves the rest.
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

// sieve reads through a stream that must not carry certain byte strings, however it is
// cut into reads. It holds back only what may be the beginning of one, so a stream of
// small events is not delayed.
type sieve struct {
	io.ReadCloser
	forms   [][]byte
	found   func(data []byte) error // masks in place, or refuses
	pending []byte                  // read, not yet judged
	ready   []byte                  // judged, not yet handed on
	err     error
}

// Read implements io.Reader.
func (s *sieve) Read(p []byte) (int, error) {
	for len(s.ready) == 0 && s.err == nil {
		s.fill(len(p))
	}
	n := copy(p, s.ready)
	s.ready = s.ready[n:]
	if len(s.ready) > 0 {
		return n, nil
	}
	return n, s.err
}

// fill reads once. What comes with an error is judged like everything else.
func (s *sieve) fill(size int) {
	chunk := make([]byte, max(size, 512))
	n, err := s.ReadCloser.Read(chunk)
	data := append(s.pending, chunk[:n]...)
	if bad := s.found(data); bad != nil {
		s.pending, s.err = nil, bad
		return
	}
	held := 0
	if err == nil {
		held = s.prefix(data)
	}
	s.ready, s.pending, s.err = data[:len(data)-held], slices.Clone(data[len(data)-held:]), err
}

// prefix is the length of the longest end of data with which a form begins.
func (s *sieve) prefix(data []byte) int {
	longest := 0
	for _, form := range s.forms {
		for n := min(len(form)-1, len(data)); n > longest; n-- {
			if bytes.HasPrefix(form, data[len(data)-n:]) {
				longest = n
				break
			}
		}
	}
	return longest
}

// refuseLeaks makes a request's body fail before a watched value leaves.
func refuseLeaks(body io.ReadCloser, watched []needle) io.ReadCloser {
	s := &sieve{ReadCloser: body, found: func(data []byte) error {
		if n := find(data, watched); n != nil {
			return &leak{n.name, n.real}
		}
		return nil
	}}
	for _, n := range watched {
		s.forms = append(s.forms, n.forms...)
	}
	return s
}

// maskSecrets overwrites our real values in an answer, byte for byte, so that lengths
// stay right (ATTACKS C3).
func (s secrets) maskSecrets(body io.ReadCloser) io.ReadCloser {
	masker := &sieve{ReadCloser: body, forms: s.realForms()}
	masker.found = func(data []byte) error { mask(data, masker.forms); return nil }
	return masker
}

func (s secrets) realForms() [][]byte {
	var forms [][]byte
	for _, n := range s.needles {
		if n.real {
			forms = append(forms, n.forms...)
		}
	}
	return forms
}

func mask(data []byte, forms [][]byte) {
	for _, form := range forms {
		for rest := data; ; {
			i := bytes.Index(rest, form)
			if i < 0 {
				break
			}
			copy(rest[i:], bytes.Repeat([]byte("*"), len(form)))
			rest = rest[i+len(form):]
		}
	}
}
