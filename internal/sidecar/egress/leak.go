package egress

import "github.com/bot-bottle/bot-bottle/internal/dlp"

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
	n.forms = dlp.Forms(value)
	return n
}
