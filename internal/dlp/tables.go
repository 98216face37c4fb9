package dlp

import (
	"hash/maphash"
	"sync"
)

// tables is what every scanner looks things up in. It does not change.
type tables struct {
	rules []rule
	grams map[uint32][]gram // of the rules
	alphabets
	rotated [256]byte // by 13
	kinds   [256]byte // of base32
	marks   [256]bool // what base64 has not
	folds   [1 << 16]byte
	magics  *magics
	begin85 [1 << 14]uint8
	seed    maphash.Seed
}

// shared is made once for the process: a scanner is made anew with each change of a
// bottle's secrets, and what does not depend on them takes milliseconds.
var shared = sync.OnceValues(newTables)

func newTables() (*tables, error) {
	rules, err := compile(table())
	if err != nil {
		return nil, err
	}
	t := &tables{rules: rules, grams: ruleGrams(rules), alphabets: newAlphabets(), magics: newMagics(), seed: maphash.MakeSeed()}
	t.begin85 = newBegin85(t.base85)
	for i := range 256 {
		t.rotated[i] = rot13Byte(byte(i))
		t.kinds[i] = base32Kind(byte(i))
		t.marks[i] = t.base64.values[i] == noSymbol && i != '='
	}
	looks := newLooks()
	for r := range rune(len(t.folds)) {
		t.folds[r] = foldsTo(r, looks)
	}
	return t, nil
}
