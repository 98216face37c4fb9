package dlp

import (
	"context"
	"strings"
	"testing"
)

// Attack C7: a token with characters between its own that nobody sees, each control among
// them, at any place in a text.
func TestAttackC7_ATokenWithControlsInIt(t *testing.T) {
	s := newScanner(t, Options{})
	half, other := githubToken()[:18], githubToken()[18:]
	for c := range rune(0xA0) {
		if c >= 0x20 && c < 0x7F || c == '\t' || c == '\n' || c == '\r' {
			continue
		}
		for _, before := range []int{0, 3, 8, 100} {
			text := strings.Repeat("a", before) + " " + half + string(c) + other + " and more text behind it"
			findings, err := s.Scan(context.Background(), Input{Kind: Body, Host: "x.example", Data: []byte(text)})
			if err != nil || len(findings) == 0 {
				t.Errorf("with %q behind %d bytes: got %v, %v", c, before, findings, err)
			}
		}
	}
}
