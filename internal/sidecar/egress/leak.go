package egress

import (
	"strings"

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

// minPiece is how long a piece of a value must be to be looked for: the two ends of one that are
// shorter than this leave more than a third of it unsaid.
func minPiece(value string) int { return max(12, (len(value)+2)/3) }

// piecesOf are all of a value's that are so long, but for what it has in common with its
// placeholder: how such values begin is no secret.
func piecesOf(value, placeholder string) (all [][]byte) {
	size := minPiece(value)
	for from := 0; from+size <= len(value); from++ {
		if piece := value[from : from+size]; !strings.Contains(placeholder, piece) {
			all = append(all, []byte(piece))
		}
	}
	return all
}
