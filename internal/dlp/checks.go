package dlp

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
)

// isJWT looks whether a token's first part is a JSON object with an algorithm.
func isJWT(token []byte) bool {
	head, _, _ := bytes.Cut(token, []byte("."))
	text, err := base64.RawURLEncoding.DecodeString(string(bytes.TrimRight(head, "=")))
	if err != nil {
		return false
	}
	var header struct{ Alg, Enc string }
	return json.Unmarshal(text, &header) == nil && header.Alg != ""
}

// isRandom takes letters beside digits, or in both cases: one random token of 36 in five hundred has
// no digit, and no name of that length behind such a prefix has both cases and no separator.
func isRandom(token []byte) bool {
	token = token[bytes.LastIndexByte(token, '_')+1:]
	upper := bytes.ContainsFunc(token, func(r rune) bool { return r >= 'A' && r <= 'Z' })
	lower := bytes.ContainsFunc(token, func(r rune) bool { return r >= 'a' && r <= 'z' })
	return hasDigitAndLetter(token) || upper && lower
}

// isMixed takes what is behind the first "_" for random where it has capitals, small letters and digits,
// and few of the separators that stand between the words of a name: of 40 characters of base64's, seven of a
// thousand have no digit and one of a thousand more than six separators.
func isMixed(token []byte) bool {
	_, token, _ = bytes.Cut(token, []byte("_"))
	separators := bytes.Count(token, []byte("_")) + bytes.Count(token, []byte("-"))
	return hasAllKinds(token) && separators*6 <= len(token)
}

// standsAlone is false for a part of a longer name, or of a longer run of base64.
func standsAlone(data []byte, start, end int) bool {
	part := func(c byte) bool { return isAlnum(c) || c == '_' || c == '-' }
	return (start == 0 || !part(data[start-1])) && (end >= len(data) || !part(data[end]))
}

// hasDigitAndLetter is what a token of random letters and digits nearly always has.
func hasDigitAndLetter(token []byte) bool {
	return bytes.ContainsFunc(token, func(r rune) bool { return r >= '0' && r <= '9' }) &&
		bytes.ContainsFunc(token, func(r rune) bool { return r|0x20 >= 'a' && r|0x20 <= 'z' })
}

// notPresigned is false for the key's name in a presigned URL, which is no secret: what
// makes the URL worth something is the signature, for one request and some time.
func notPresigned(data []byte, start, _ int) bool {
	before := bytes.ToLower(data[max(0, start-24):start])
	for _, parameter := range []string{"x-amz-credential=", "awsaccesskeyid=", "credential="} {
		if bytes.HasSuffix(before, []byte(parameter)) {
			return false
		}
	}
	return true
}

// privateKey finds the body of a PEM private key behind its first line.
func privateKey(data []byte, at int) (int, int, bool) {
	const most = 80
	line := data[at:min(len(data), at+most)]
	i := bytes.Index(line, []byte("PRIVATE KEY"))
	if i < 0 {
		return at, at + len(line), false
	}
	if bytes.ContainsAny(line[len("-----BEGIN "):i], "\n\r\"-") {
		return at, at + i, false
	}
	body, row, longest := at+i+len("PRIVATE KEY"), 0, 0
	end := body
	for ; end < len(data) && end-body < maxPEM; end++ {
		c := data[end]
		if end > body+8 && c == '-' && bytes.HasPrefix(data[end:], []byte("-----")) {
			break
		}
		if row++; !isAlnum(c) && c != '+' && c != '/' {
			row = 0
		}
		longest = max(longest, row)
	}
	return at, end, longest >= minPEM && !invented(data[body:end])
}

const (
	maxPEM = 16 << 10
	minPEM = 24 // symbols in a row; a full line has 64
)

// assigned finds what is assigned to a name that says secret, beginning at such a word:
// key=value, "key": "value", key := `value`, Key value in a header.
func assigned(data []byte, at int) (start, end int, ok bool) {
	start = valueOf(data, at)
	if start < 0 {
		return at, at + maxName, false
	}
	for end = start; end < len(data) && end-start <= maxAssigned && isSecretChar(data[end]); end++ {
	}
	value := bytes.TrimRight(data[start:end], ".=-")
	ok = len(value) >= minAssigned && len(value) < maxAssigned && ends(data, end) && hasAllKinds(value) && entropy(value) >= 4 && !invented(value) && !isWords(value)
	return start, end, ok
}

const (
	minAssigned = 24
	maxAssigned = 128
)

// awsSecret finds the 40 characters that are assigned to a secret access key.
func awsSecret(data []byte, at int) (start, end int, ok bool) {
	start = valueOf(data, at)
	if start < 0 {
		return at, at + maxName, false
	}
	for end = start; end < len(data) && end-start <= 40 && (isAlnum(data[end]) || data[end] == '/' || data[end] == '+'); end++ {
	}
	value := data[start:end]
	return start, end, len(value) == 40 && hasAllKinds(value) && entropy(value) >= 4 && !invented(value)
}

// valueOf is where the value begins that is assigned to the name with a word at at, -1 if
// none is.
func valueOf(data []byte, at int) int {
	const maxRest, maxBlanks = 40, 4
	i := at
	for i < len(data) && i-at < maxRest && (isAlnum(data[i]) || data[i] == '_' || data[i] == '-') {
		i++
	}
	mark, blanks := false, 0
	for ; i < len(data); i++ {
		switch c := data[i]; {
		case c == '=' || c == ':' || c == '>':
			mark = true
		case isQuote(c) || c == '\\':
		case c == ' ' && blanks < maxBlanks:
			blanks++
		default:
			if mark {
				return i
			}
			return -1
		}
	}
	return -1
}

func isSecretChar(c byte) bool {
	return isAlnum(c) || c == '+' || c == '/' || c == '_' || c == '=' || c == '-' || c == '.' || c == '~'
}

// ends reports whether a value can end there: code would go on.
func ends(data []byte, at int) bool {
	return at == len(data) || isQuote(data[at]) || data[at] <= ' ' || bytes.IndexByte([]byte(`\,;&<}`), data[at]) >= 0
}

// hasAllKinds is what a random value of this length nearly always has.
func hasAllKinds(value []byte) bool {
	var up, low, digit int
	for _, c := range value {
		switch {
		case c >= 'A' && c <= 'Z':
			up++
		case c >= 'a' && c <= 'z':
			low++
		case isDigit(c):
			digit++
		}
	}
	return up > 1 && low > 1 && digit > 1
}

// isWords reports whether a value is made of words, as names and paths are: in a random one
// hardly ever do nine small letters follow each other that could be spoken.
func isWords(value []byte) bool {
	const long, spoken = 9, 3
	row, vowels := 0, 0
	for _, c := range value {
		if c < 'a' || c > 'z' {
			row, vowels = 0, 0
			continue
		}
		if row++; bytes.IndexByte([]byte("aeiou"), c) >= 0 {
			vowels++
		}
		if row >= long && vowels >= spoken {
			return true
		}
	}
	return false
}
