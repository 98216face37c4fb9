package dlp

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// rule is the shape of one kind of token.
type rule struct {
	id      string
	pattern string                                              // see parsePattern
	entropy float64                                             // bits per character that the token has at least
	check   func(token []byte) bool                             // what a real token fulfils
	context func(data []byte, start, end int) bool              // what must stand around it
	custom  func(data []byte, at int) (start, end int, ok bool) // instead of the pattern's match
	hosts   []string                                            // of its own provider, where it belongs
	glued   bool                                                // may follow a letter
	ends    bool                                                // a longer one is something else, such as a hash; so without a check

	parts   []part // of the pattern
	literal string // the longest literal part
	before  int    // how far the literal stands from the beginning
	reach   int    // how far a token and what must stand around it go, from its literal
}

// part is a literal, or characters of a class.
type part struct {
	literal  string
	class    *[256]bool
	min, max int
}

// maxRun is how far a class without an upper limit is followed.
const maxRun = 2048

func compile(rules []rule) ([]rule, error) {
	for i := range rules {
		r := &rules[i]
		var err error
		if r.parts, err = parsePattern(r.pattern); err != nil {
			return nil, fmt.Errorf("rule %s: %w", r.id, err)
		}
		before := 0
		for _, p := range r.parts {
			if len(p.literal) > len(r.literal) {
				r.literal, r.before = p.literal, before
			}
			if p.min != p.max { // what follows stands nowhere in particular
				break
			}
			before += len(p.literal) + p.min
		}
		r.reach = r.longest()
		if len(r.literal) < gramLen-1 || len(r.literals()) == 0 {
			return nil, fmt.Errorf("rule %s: no literal of %d characters", r.id, gramLen-1)
		}
	}
	return rules, nil
}

// longest is how long a token and what must stand around it can be, as far as they are
// followed.
func (r *rule) longest() int {
	const around = 32
	n := around
	for _, p := range r.parts {
		n += len(p.literal) + p.max
	}
	if n > maxToken || r.custom != nil {
		return maxToken
	}
	return n
}

// literals are what to look for: the literal, or if it is one character too short, it
// with each that can follow, small letters standing for capitals too.
func (r *rule) literals() [][]byte {
	if len(r.literal) >= gramLen {
		return [][]byte{[]byte(r.literal)}
	}
	var longer [][]byte
	for i, p := range r.parts {
		if p.literal != r.literal || i+1 == len(r.parts) {
			continue
		}
		for ch, in := range r.parts[i+1].class {
			if small := ch | 0x20; in && (small == ch || !r.parts[i+1].class[small]) {
				longer = append(longer, append([]byte(r.literal), byte(ch)))
			}
		}
	}
	return longer
}

// parsePattern reads literals, classes such as [a-z0-9_] and \w, and counts {n}, {n,m}
// and {n,} behind classes. A backslash makes any other character a literal.
func parsePattern(pattern string) ([]part, error) {
	var parts []part
	literal := func(c byte) {
		if n := len(parts); n > 0 && parts[n-1].class == nil {
			parts[n-1].literal += string(c)
			return
		}
		parts = append(parts, part{literal: string(c)})
	}
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '[':
			end := strings.IndexByte(pattern[i:], ']')
			if end < 0 {
				return nil, errors.New("a class without an end")
			}
			parts = append(parts, part{class: class(pattern[i+1 : i+end]), min: 1, max: 1})
			i += end
		case c == '\\' && i+1 < len(pattern) && pattern[i+1] == 'w':
			parts = append(parts, part{class: class("A-Za-z0-9_"), min: 1, max: 1})
			i++
		case c == '\\' && i+1 < len(pattern):
			i++
			literal(pattern[i])
		case c == '{' && len(parts) > 0 && parts[len(parts)-1].class != nil:
			end := strings.IndexByte(pattern[i:], '}')
			if end < 0 {
				return nil, errors.New("a count without an end")
			}
			p := &parts[len(parts)-1]
			if n, _ := fmt.Sscanf(pattern[i:i+end+1], "{%d,%d}", &p.min, &p.max); n == 1 {
				p.max = p.min
				if strings.Contains(pattern[i:i+end], ",") {
					p.max = maxRun
				}
			}
			i += end
		default:
			literal(c)
		}
	}
	return parts, nil
}

func class(members string) *[256]bool {
	var set [256]bool
	for i := 0; i < len(members); i++ {
		if i+2 < len(members) && members[i+1] == '-' {
			for c := int(members[i]); c <= int(members[i+2]); c++ {
				set[c] = true
			}
			i += 2
			continue
		}
		set[members[i]] = true
	}
	return &set
}

// match tries the rule where its literal begins at at. The end is how far it looked
// when the answer is no.
func (r *rule) match(data []byte, at int) (start, end int, ok bool) {
	if at+len(r.literal) > len(data) || string(data[at:at+len(r.literal)]) != r.literal {
		return at, at, false
	}
	if r.custom != nil {
		return r.custom(data, at)
	}
	start = at - r.before
	if start < 0 || !r.glued && start > 0 && isAlnum(data[start]) && isAlnum(data[start-1]) {
		return at, at, false
	}
	if end, ok = r.follow(data, start); !ok {
		return start, end, false
	}
	token := data[start:end]
	if entropy(token) < r.entropy || invented(token) {
		return start, end, false
	}
	ok = (r.check == nil || r.check(token)) && (r.context == nil || r.context(data, start, end))
	return start, end, ok
}

// follow goes along the pattern's parts, each as long as it can be.
func (r *rule) follow(data []byte, at int) (end int, ok bool) {
	for _, p := range r.parts {
		if p.class == nil {
			if !strings.HasPrefix(string(data[at:min(len(data), at+len(p.literal))]), p.literal) {
				return at, false
			}
			at += len(p.literal)
			continue
		}
		n := 0
		for n < p.max && at+n < len(data) && p.class[data[at+n]] {
			n++
		}
		if at += n; n < p.min {
			return at, false
		}
	}
	last := r.parts[len(r.parts)-1]
	if (r.check == nil || r.ends) && last.class != nil && last.max < maxRun && at < len(data) && last.class[data[at]] && isAlnum(data[at]) {
		return at, false // longer than any such token
	}
	return at, true
}

// meantFor reports whether host is the rule's own provider's: what passes there is for
// the route to judge.
func (r *rule) meantFor(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	return slices.ContainsFunc(r.hosts, func(own string) bool { return host == own || strings.HasSuffix(host, "."+own) })
}

// entropy is in bits per character.
func entropy(token []byte) float64 {
	var counts [256]int
	for _, c := range token {
		counts[c]++
	}
	sum := 0.0
	for _, n := range counts {
		if n > 0 {
			p := float64(n) / float64(len(token))
			sum -= p * math.Log2(p)
		}
	}
	return sum
}

// invented reports whether a token was plainly written for an example: with a word or a
// row that says so, or with one character over and over.
func invented(token []byte) bool {
	text := strings.ToLower(string(token))
	for _, sign := range []string{"example", "placeholder", "redacted", "abcdefghij", "0123456789", "1234567890", "xxxxxx", "......", "******"} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}
