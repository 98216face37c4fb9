package dlp

import (
	"encoding/binary"
	"slices"
)

// grams finds the places where something that is looked for may stand: four bytes of
// each literal are kept in a set of bits, which one pass asks at every place. Upper and
// lower case are the same to it, and a few other characters; who is told of a place
// looks for himself.
type grams struct {
	bits, sure [gramWords]uint64 // by two hashes
	own        map[uint32][]gram
	rules      map[uint32][]gram // the same for every scanner
}

const (
	gramLen   = 4
	gramBits  = 17
	gramWords = 1 << gramBits / 64
)

// gram is one literal's four bytes.
type gram struct {
	kind   gramKind
	index  int    // of the rule or the known value
	form   int    // of the known value; for a rule, how it is turned
	offset int    // of the four bytes in the literal
	length int    // of the literal, for a rule
	turned []byte // the literal as it then reads, for a rule
	skip   int    // how far it stands behind what offset counts from
}

type gramKind byte

const (
	gramRule gramKind = iota
	gramKnown
	gramTurned
	gramLetters
)

func newGrams(rules map[uint32][]gram) *grams {
	g := &grams{own: map[uint32][]gram{}, rules: rules}
	for key := range rules {
		g.mark(key)
	}
	return g
}

func gramKey(b []byte) uint32 { return binary.LittleEndian.Uint32(b) | 0x20202020 }

func gramHash(key uint32) uint32 { return key * 0x9E3779B1 >> (32 - gramBits) }

func otherHash(key uint32) uint32 { return key * 0x85EBCA6B >> (32 - gramBits) }

func (g *grams) mark(key uint32) {
	h, o := gramHash(key), otherHash(key)
	g.bits[h/64] |= 1 << (h % 64)
	g.sure[o/64] |= 1 << (o % 64)
}

func (g *grams) add(literal []byte, offset int, entry gram) {
	addGram(g.own, literal, offset, entry)
	g.mark(gramKey(literal[offset:]))
}

func addGram(to map[uint32][]gram, literal []byte, offset int, entry gram) {
	key := gramKey(literal[offset:])
	entry.offset = offset
	to[key] = append(to[key], entry)
}

// rarest is where the four bytes of a literal begin that text is least likely to have.
func rarest(literal []byte) int {
	best, most := 0, -1
	for i := 0; i+gramLen <= len(literal); i++ {
		rare := 0
		for _, c := range literal[i : i+gramLen] {
			rare += rarity(c)
		}
		if rare > most {
			best, most = i, rare
		}
	}
	return best
}

func rarity(c byte) int {
	switch {
	case c >= '0' && c <= '9', c == '_', c == '-':
		return 3
	case slices.Contains([]byte("jkqvwxyzJKQVWXYZ"), c):
		return 4
	case slices.Contains([]byte("bfghpuBFGHPU"), c):
		return 2
	case c == ' ':
		return 0
	}
	return 1
}

// each calls found for every entry whose four bytes stand at i.
func (g *grams) each(data []byte, found func(i int, entry gram)) {
	i := 0
	for ; i+8 <= len(data); i += 4 {
		w := binary.LittleEndian.Uint64(data[i:]) | 0x2020202020202020
		a, b, c, d := gramHash(uint32(w)), gramHash(uint32(w>>8)), gramHash(uint32(w>>16)), gramHash(uint32(w>>24))
		hit := g.bits[a/64]>>(a%64) | g.bits[b/64]>>(b%64) | g.bits[c/64]>>(c%64) | g.bits[d/64]>>(d%64)
		if hit&1 == 0 {
			continue
		}
		for j, h := range [4]uint32{a, b, c, d} {
			if g.bits[h/64]>>(h%64)&1 != 0 {
				g.look(i+j, uint32(w>>(8*j)), found)
			}
		}
	}
	for ; i+gramLen <= len(data); i++ {
		g.look(i, gramKey(data[i:]), found)
	}
}

// eachLong does so where all the bytes of every literal were added and none is shorter than
// minLetters: then every eighth place shows each.
func (g *grams) eachLong(data []byte, found func(i int, entry gram)) {
	for i := 0; i+gramLen <= len(data); i += minLetters - gramLen {
		key := gramKey(data[i:])
		if h := gramHash(key); g.bits[h/64]>>(h%64)&1 != 0 {
			g.look(i, key, found)
		}
	}
}

func (g *grams) look(i int, key uint32, found func(i int, entry gram)) {
	if o := otherHash(key); g.sure[o/64]>>(o%64)&1 == 0 {
		return
	}
	for _, entry := range g.rules[key] {
		found(i, entry)
	}
	for _, entry := range g.own[key] {
		found(i, entry)
	}
}

// ruleGrams are those of the rules' literals, as they are and turned.
func ruleGrams(rules []rule) map[uint32][]gram {
	grams := map[uint32][]gram{}
	for i := range rules {
		for _, literal := range rules[i].literals() {
			own := []byte(rules[i].literal)
			extra := len(literal) - len(own)
			for form, forms := range [][2][]byte{{literal, own}, {reversed(literal), reversed(own)}, {rot13(literal), rot13(own)}, {reversed(rot13(literal)), reversed(rot13(own))}} {
				entry := gram{kind: gramRule, index: i, form: form, length: len(literal), turned: forms[1], skip: form % 2 * extra}
				addGram(grams, forms[0], rarest(forms[0]), entry)
			}
		}
	}
	return grams
}

func (e *engine) textGrams() *grams {
	g := newGrams(e.grams)
	for i := range e.known {
		k := &e.known[i]
		for offset := 0; offset+gramLen <= len(k.plain); offset++ {
			g.add(k.plain, offset, gram{kind: gramKnown, index: i})
		}
		for form, turned := range k.turned {
			g.add(turned, rarest(turned), gram{kind: gramTurned, index: i, form: form})
		}
	}
	return g
}

// letterGrams is nil when no known value has letters and digits enough.
func (e *engine) letterGrams() *grams {
	var g *grams
	for i := range e.known {
		k := &e.known[i]
		if len(k.letters) < minLetters {
			continue
		}
		if g == nil {
			g = newGrams(nil)
		}
		for offset := 0; offset+gramLen <= len(k.letters); offset++ {
			g.add(k.letters, offset, gram{kind: gramLetters, index: i})
		}
	}
	return g
}

// minLetters is how many letters and digits a known value must have to be looked for
// with everything between them left out.
const minLetters = 12

func reversed(b []byte) []byte {
	r := slices.Clone(b)
	slices.Reverse(r)
	return r
}

func rot13(b []byte) []byte {
	r := make([]byte, len(b))
	for i, c := range b {
		r[i] = rot13Byte(c)
	}
	return r
}

func rot13Byte(c byte) byte {
	switch l := c | 0x20; {
	case l < 'a' || l > 'z':
		return c
	case l <= 'm':
		return c + 13
	default:
		return c - 13
	}
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isAlnum(c byte) bool  { return isLetter(c) || isDigit(c) }
