package audit

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// RedactPath shortens the segments of a request's path that look like a secret, a person or
// a number of somebody's to "…(n)", n being their length: a log says which endpoint was
// called, not with what. Of a segment like sha256:9f86d0… only the part goes. Names that
// people chose, versions, dates and short numbers stay.
//
// full, which an operator may set for a route, leaves the path as it is. The guess errs
// both ways; what must never be in a log is masked before by who knows it.
func RedactPath(path string, full bool) string {
	if full {
		return path
	}
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		segments[i] = redactSegment(segment)
	}
	return strings.Join(segments, "/")
}

func gone(s string) string { return fmt.Sprintf("…(%d)", utf8.RuneCountInString(s)) }

var (
	// uuid is RFC 9562's text form.
	uuid = regexp.MustCompile(`(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	// hexadecimal is a digest, or a key.
	hexadecimal = regexp.MustCompile(`(?i)[0-9a-f]{16,}`)
	// email is an address, not a package with its version (react@18.2.0).
	email = regexp.MustCompile(`(?i)^[^@]+@[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z]{2,}$`)
	// tokens of providers that say what they are.
	token = regexp.MustCompile(`(sk|pk|rk|ghp|gho|ghu|ghs|ghr|github_pat|glpat|xox[a-z]|npm|pypi|hf|whsec|AKIA|ASIA|AIza|ya29|eyJ)[-_.A-Za-z0-9]{16,}`)
	// number is longer than one that counts something; versions and dates are shorter.
	number = regexp.MustCompile(`^[0-9]{12,}$`)
)

// shortest is the length of the shortest number, token or digest that is looked for.
const shortest = 12

func redactSegment(segment string) string {
	if len(segment) < shortest && prints(segment) && !strings.ContainsAny(segment, "%@") {
		return segment // too short for all but an address
	}
	return redactAny(segment)
}

func redactAny(segment string) string {
	plain, err := url.PathUnescape(segment)
	if err != nil || strings.ContainsFunc(plain, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
		return gone(segment) // it is no text
	}
	if email.MatchString(plain) || number.MatchString(plain) || hasToken(plain) {
		return gone(segment)
	}
	short := uuid.ReplaceAllStringFunc(segment, gone)
	short = hexadecimal.ReplaceAllStringFunc(short, func(s string) string {
		if isName(s) {
			return s
		}
		return gone(s)
	})
	if short == segment && random(plain) {
		return gone(segment)
	}
	return short
}

// hasToken reports a provider's token: a prefix alone is a word, as in sk-learn-tutorials.
func hasToken(s string) bool {
	found := token.FindStringIndex(s)
	if found == nil || found[0] > 0 && isAlphanumeric(rune(s[found[0]-1])) {
		return false
	}
	return strings.ContainsAny(s[found[0]:found[1]], "0123456789") && strings.ToLower(s) != s || longestWord(s) >= 20
}

// isName reports what only looks hexadecimal: a time like 20230101120000, or letters.
func isName(s string) bool {
	return !strings.ContainsAny(s, "0123456789") || strings.Trim(s, "0123456789") == "" && len(s) <= 17
}

func isAlphanumeric(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return !isAlphanumeric(r) })
}

func longestWord(s string) (longest int) {
	for _, word := range words(s) {
		longest = max(longest, utf8.RuneCountInString(word))
	}
	return longest
}

// random reports whether a segment was made by a machine that meant it to be guessed by
// nobody: in base64 and base32, letters and digits, small and capital, alternate as in
// nothing that is meant to be read.
func random(s string) bool {
	letters, changes := 0, 0
	for _, word := range words(s) {
		n, c, runs := alternations(word)
		if n >= 16 && (4*c >= n || runs >= 3 && 7*c >= n) || n >= 20 && unspeakable(word) {
			return true
		}
		letters, changes = letters+n, changes+c
	}
	return letters >= 20 && 4*changes >= letters
}

// alternations counts a word's characters, how often their class changes, and its runs of
// digits. From a capital to a small letter is no change: words begin like that.
func alternations(word string) (n, changes, runs int) {
	var before rune
	for _, r := range word {
		now := class(r)
		if now == '0' && before != '0' {
			runs++
		}
		if n > 0 && now != before && !(before == 'A' && now == 'a') {
			changes++
		}
		before = now
		n++
	}
	return n, changes, runs
}

func class(r rune) rune {
	switch {
	case unicode.IsDigit(r):
		return '0'
	case unicode.IsUpper(r):
		return 'A'
	}
	return 'a'
}

// unspeakable reports seven consonants on end: six there are, in German.
func unspeakable(word string) bool {
	run, longest := 0, 0
	for _, r := range strings.ToLower(word) {
		if r < 'a' || r > 'z' || strings.ContainsRune("aeiouy", r) {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return longest >= 7
}
