package egress

import (
	"bytes"

	"github.com/bot-bottle/bot-bottle/internal/dlp"
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

	// pieces are looked for in answers, too, of a value before which the bottle may put what it likes,
	// as in a path: where an upstream echoes that up to some length, the bottle says where the value
	// is cut off.
	pieces [][]byte
}

func newNeedle(name, value string, real bool) needle {
	n := needle{name: name, real: real, plain: []byte(value)}
	if len(value) < minNeedle {
		return n
	}
	n.forms = dlp.Forms(value)
	return n
}

// minPiece is how long a piece of a value must be to be looked for. The two ends that are shorter leave
// a third unsaid of a value of 33 characters or more, and less of a shorter one: pieces of eight, say, would be met
// by chance.
func minPiece(value string) int { return max(12, (len(value)+2)/3) }

// piecesOf are all of a value's that are so long, but for what it has in common with its
// placeholder: how such values begin is no secret.
func piecesOf(value, placeholder string) (all [][]byte) {
	whole, known, size := []byte(value), []byte(placeholder), minPiece(value)
	for from := 0; from+size <= len(value); from++ {
		if piece := whole[from : from+size]; !bytes.Contains(known, piece) {
			all = append(all, piece)
		}
	}
	return all
}
