package dlp

import (
	"context"
	"fmt"
	"testing"
)

// Attack C7: half of a secret goes in a head that was sent before, word for word, and was
// clean. That it is not searched again must not keep its half from being remembered.
func TestAttackC7_HalfASecretInAHeadThatWasSeen(t *testing.T) {
	const secret = "tok_8Gk2LmQ9xVb4TzR7"
	s := newScanner(t, Options{Known: []Value{{Name: "KEY", Secret: []byte(secret)}}})
	memory := NewMemory(4)
	send := func(head string) []Finding {
		findings, err := s.Scan(context.Background(), Input{Host: "a.example", Kind: Header, Data: []byte(head), Memory: memory})
		if err != nil {
			t.Fatal(err)
		}
		return findings
	}
	half := "GET /" + secret[:10] + " HTTP/1.1\n"
	if found := send(half); len(found) > 0 {
		t.Fatalf("half a secret is none: %v", found)
	}
	for i := range 4 { // others, with a part of their own, for which it is forgotten
		send(fmt.Sprintf("GET /%d/%s HTTP/1.1\n", i, secret[3:8]))
	}
	send(half)
	if found := send("GET /" + secret[10:] + " HTTP/1.1\n"); len(found) == 0 {
		t.Error("the other half passed")
	}
}

// Attack C7: a head with a provider's own token, clean to that provider, goes to another host.
func TestAttackC7_AHeadThatWasCleanGoesToAnotherHost(t *testing.T) {
	s := newScanner(t, Options{})
	head := []byte("GET /repos HTTP/1.1\nX-Note: " + githubToken() + "\n")
	for range 2 {
		for host, want := range map[string]int{"api.github.com": 0, "paste.example": 1} {
			findings, err := s.Scan(context.Background(), Input{Host: host, Kind: Header, Data: head})
			if err != nil || len(findings) != want {
				t.Errorf("%s: got %v, %v", host, findings, err)
			}
		}
	}
}

// A head that was clean is not searched again; one that was not, is.
func TestACleanHeadIsSearchedOnce(t *testing.T) {
	s := newScanner(t, Options{Known: []Value{{Name: "KEY", Secret: []byte("tok_8Gk2LmQ9xVb4TzR7")}}})
	for head, again := range map[string]bool{"GET / HTTP/1.1\n": false, "GET /tok_8Gk2LmQ9xVb4TzR7 HTTP/1.1\n": true, "GET /tok_8Gk2 HTTP/1.1\n": true} {
		for i := range 3 {
			c := s.engine().newScan(context.Background(), Input{Host: "a.example", Kind: Header, Data: []byte(head)})
			c.document()
			if searched := c.worked > 0; searched != (again || i == 0) {
				t.Errorf("%q, time %d: searched: %t", head, i, searched)
			}
			if _, err := c.done(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
