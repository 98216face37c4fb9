package egress

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func testEchoes() *echoes {
	return newEchoes([]needle{newNeedle("KEY", realKey, true), newNeedle("OTHER", otherReal, true)})
}

// maskedIn reads text through a masker, cut into pieces.
func maskedIn(t *testing.T, text string, cuts func(io.Reader) io.Reader) string {
	t.Helper()
	got, err := io.ReadAll(maskBody(testEchoes, io.NopCloser(cuts(strings.NewReader(text))), nil))
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}

// Attack C2: a read that returns data together with an error, or a byte at a time, so
// that the masker judges only half of what it hands on.
func TestAttackC2_EveryByteIsJudged(t *testing.T) {
	stars := strings.Repeat("*", len(realKey))
	for text, want := range map[string]string{
		realKey:                               stars,
		"x" + realKey:                         "x" + stars,
		realKey + realKey + "y":               stars + stars + "y",
		realKey[:20] + realKey + "z":          realKey[:20] + stars + "z",
		realKey[:len(realKey)-1]:              realKey[:len(realKey)-1],
		"sk-" + realKey[:5] + "sk-" + realKey: "sk-" + realKey[:5] + "sk-" + stars,
		"":                                    "",
	} {
		for name, cuts := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "data with error": iotest.DataErrReader, "bytes": iotest.OneByteReader,
			"bytes, the last with error": func(r io.Reader) io.Reader { return iotest.DataErrReader(iotest.OneByteReader(r)) }, "halves": iotest.HalfReader,
		} {
			got := maskedIn(t, text, cuts)
			if strings.Contains(name, "bytes") { // fewer than minHeld letters are not held back
				if len(got) != len(want) || strings.Contains(got, realKey[:minHeld]) != strings.Contains(want, realKey[:minHeld]) {
					t.Errorf("%q in %s: got %q, want %q", text, name, got, want)
				}
			} else if got != want {
				t.Errorf("%q in %s: got %q, want %q", text, name, got, want)
			}
		}
	}
}

// What is no secret comes through as it was, however it is cut; and no cut lets a
// secret through.
func FuzzSieve(f *testing.F) {
	f.Add([]byte("a"+realKey+"b"), 3)
	f.Add([]byte(realKey[:9]+otherReal+realKey), 1)
	f.Fuzz(func(t *testing.T, text []byte, size int) {
		if size < 1 || size > 1<<16 {
			return
		}
		for _, insert := range []string{"", realKey} {
			whole := string(text) + insert + string(text)
			got := maskedIn(t, whole, func(r io.Reader) io.Reader { return &pieces{r, size} })
			want := []byte(whole)
			testEchoes().mask(want)
			if insert == "" && bytes.Equal(want, []byte(whole)) && got != whole {
				t.Fatalf("changed %q to %q", whole, got)
			}
			if len(got) != len(whole) || strings.Contains(got, realKey) || strings.Contains(got, otherReal) {
				t.Fatalf("got %q of %q", got, whole)
			}
		}
	})
}

// pieces reads so much at a time.
type pieces struct {
	r    io.Reader
	size int
}

func (p *pieces) Read(b []byte) (int, error) { return p.r.Read(b[:min(p.size, len(b))]) }

// The head of an HTTP request is the bottle's to choose: whatever it says as authority,
// either one normal name and port come out, or nothing.
func FuzzAuthority(f *testing.F) {
	for _, seed := range []string{"api.example:443", "[::1]:443", "a\x00b:1", "user@api.example:443", "api.example", "API.example.:0443"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, authority string) {
		host, port, err := splitAuthority(authority, 0)
		if err != nil {
			return
		}
		again, samePort, err := splitAuthority(host+":443", 0)
		if err != nil || again != host || samePort != 443 || port < 1 || port > 65535 {
			t.Fatalf("%q gave %q %d, then %q, %v", authority, host, port, again, err)
		}
		if strings.ContainsAny(host, "\x00@:[]/%\\ ") || strings.ToLower(host) != host {
			t.Fatalf("%q gave %q", authority, host)
		}
	})
}
