package egress

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
	"unicode/utf16"
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
	n.forms = append(n.forms, wide(value, binary.LittleEndian), wide(value, binary.BigEndian))
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

// wide is a value in UTF-16.
func wide(value string, order binary.AppendByteOrder) (form []byte) {
	for _, unit := range utf16.Encode([]rune(value)) {
		form = order.AppendUint16(form, unit)
	}
	return form
}

// shifted is the middle of value's base64 form when shift bytes stand before it: the
// characters that depend on its neighbours are left off.
func shifted(e *base64.Encoding, value []byte, shift int) []byte {
	encoded := e.EncodeToString(append(make([]byte, shift), value...))
	first := (shift*8 + 5) / 6
	last := (shift + len(value)) * 8 / 6
	return []byte(encoded[first:last])
}
