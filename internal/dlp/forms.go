package dlp

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
	"unicode/utf16"
)

// Forms are what a value looks like where it stands as it is, in hex, in base64 wherever in what was
// encoded, percent-encoded, or in UTF-16: for a search by hand, where a Scanner's would take too long or
// may change nothing. They must not be printed.
func Forms(value string) (forms [][]byte) {
	plain := []byte(value)
	forms = append(forms, plain, []byte(hex.EncodeToString(plain)), []byte(strings.ToUpper(hex.EncodeToString(plain))))
	forms = append(forms, inUTF16(value, binary.LittleEndian), inUTF16(value, binary.BigEndian))
	for shift := range 3 {
		forms = append(forms, inBase64(base64.RawStdEncoding, plain, shift), inBase64(base64.RawURLEncoding, plain, shift))
	}
	for _, escaped := range []string{url.QueryEscape(value), url.PathEscape(value)} {
		if !slices.ContainsFunc(forms, func(form []byte) bool { return string(form) == escaped }) {
			forms = append(forms, []byte(escaped))
		}
	}
	return forms
}

// inUTF16 is a value in UTF-16.
func inUTF16(value string, order binary.AppendByteOrder) (form []byte) {
	for _, unit := range utf16.Encode([]rune(value)) {
		form = order.AppendUint16(form, unit)
	}
	return form
}

// inBase64 is the middle of value's base64 form when shift bytes stand before it: the
// characters that depend on its neighbours are left off.
func inBase64(e *base64.Encoding, value []byte, shift int) []byte {
	encoded := e.EncodeToString(append(make([]byte, shift), value...))
	first := (shift*8 + 5) / 6
	last := (shift + len(value)) * 8 / 6
	return []byte(encoded[first:last])
}
