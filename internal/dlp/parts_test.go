package dlp

import (
	"context"
	"fmt"
	"testing"
)

// What is searched alone and joined afterwards gives what a search beside all the rest gives:
// the same data in the same order, in one memory each.
func TestScanAloneAndJoinAreScan(t *testing.T) {
	const secret = "hunter-2-correct-horse-battery-staple"
	s := newScanner(t, Options{Known: []Value{{Name: "PASSWORD", Secret: []byte(secret)}}, CacheSize: -1})
	half := len(secret) / 2
	for name, texts := range map[string][]string{
		"nothing":                 {"plain text", "more of it"},
		"all of it":               {"it is " + secret + "."},
		"in two":                  {"first " + secret[:half], "nothing", "then " + secret[half:]},
		"in two, other way round": {"then " + secret[half:], "first " + secret[:half]},
		"one part alone":          {"first " + secret[:half], "and again " + secret[:half]},
		"in one text, apart":      {secret[:half] + " is the first half, the second one is " + secret[half:]},
		"a part and all":          {secret[:half], secret, secret[half:]},
	} {
		whole, alone := NewMemory(8), NewMemory(8)
		for i, text := range texts {
			in := Input{Kind: Body, Data: []byte(text), Memory: whole}
			want, err := s.Scan(context.Background(), in)
			if err != nil {
				t.Fatal(err)
			}
			got, parts, err := s.ScanAlone(context.Background(), in)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) == 0 {
				got = s.Join(alone, parts)
			} else if got, err = s.Scan(context.Background(), Input{Kind: Body, Data: []byte(text), Memory: alone}); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
				t.Errorf("%s, %d: got %+v, want %+v", name, i, got, want)
			}
		}
	}
}
