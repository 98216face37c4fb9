package dlp

// alphabets are the encodings of whole bits. What stands between symbols is left out,
// so that separators do not matter.
type alphabets struct {
	base64, base32, base32hex, hex *alphabet
	alnum                          *alphabet // letters and digits, each its own value
	base58                         [256]byte
	base85                         [3][256]byte // Ascii85, RFC 1924, Z85
}

func newAlphabets() alphabets {
	even := []int{0, 2, 4, 6}
	all := []int{0, 1, 2, 3, 4, 5, 6, 7}
	return alphabets{
		base64:    newAlphabet("base64", 6, even, upper+lower+digits+"+/", upper+lower+digits+"-_"),
		base32:    newAlphabet("base32", 5, all, upper+"234567", lower+"234567"),
		base32hex: newAlphabet("base32hex", 5, all, digits+upper[:22], digits+lower[:22]),
		hex:       newHex(),
		alnum:     newAlnum(),
		base58:    newAlphabet("base58", 0, nil, digits[1:]+"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz").values,
		base85: [3][256]byte{
			newAlphabet("base85", 0, nil, symbols85()).values,
			newAlphabet("base85", 0, nil, digits+upper+lower+"!#$%&()*+-;<=>?@^_`{|}~").values,
			newAlphabet("base85", 0, nil, digits+lower+upper+".-:+=^!/*?&<>()[]{}@%$#").values,
		},
	}
}

func newAlnum() *alphabet {
	a := newAlphabet("", 8, nil)
	for _, c := range []byte(upper + lower + digits) {
		a.values[c] = c
	}
	return a
}

// newHex is hex, also where each byte has a prefix of its own, 0x or \x.
func newHex() *alphabet {
	a := newAlphabet("hex", 4, []int{0, 4}, digits+"ABCDEF", digits+"abcdef")
	a.prefix = true
	a.values['x'], a.values['X'] = prefixMark, prefixMark
	return a
}
