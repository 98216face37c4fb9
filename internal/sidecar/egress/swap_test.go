package egress

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// The placeholder scheme: the secret comes where the placeholder stands, in each place
// where clients put a credential; elsewhere, or where it stands nowhere, nothing is sent.
func TestPlaceholderIsSwapped(t *testing.T) {
	var got *http.Request
	up := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) { got = r })
	l := newLab(t, up.route("api.example", &policy.Auth{Scheme: policy.Placeholder, Secret: "KEY"}))
	basic := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	for name, c := range map[string]struct {
		target, header, value string
		arrives               string // "" when nothing may
	}{
		"alone":           {"/", "X-Own", placeholder, realKey},
		"bearer":          {"/", "Authorization", "Bearer " + placeholder, "Bearer " + realKey},
		"another scheme":  {"/", "Authorization", "token " + placeholder, "token " + realKey},
		"basic":           {"/", "Authorization", basic("me:" + placeholder), basic("me:" + realKey)},
		"cookie":          {"/", "Cookie", "a=1; s=" + placeholder, "s=" + realKey},
		"path":            {"/bot" + placeholder + "/send", "", "", "/bot" + realKey + "/send"},
		"query":           {"/?a=1&who=" + placeholder, "", "", "/?a=1&who=" + realKey},
		"nowhere":         {"/", "X-Own", "nothing", ""},
		"beside another":  {"/", "Authorization", "Bearer " + placeholder + "attacker", ""},
		"as the scheme":   {"/", "Authorization", placeholder + " attacker", ""},
		"as the user":     {"/", "Authorization", basic(placeholder + ":attacker"), ""},
		"a header's name": {"/", placeholder, "x", ""},
		"half of it":      {"/?q=x" + placeholder, "", "", ""},
	} {
		for _, h2 := range []bool{false, true} {
			got = nil
			r := request(t, "GET", "https://api.example"+c.target, nil)
			if c.header != "" {
				r.Header.Set(c.header, c.value)
			}
			response, body := get(t, l.client(t, h2), r)
			if c.arrives == "" {
				if response.StatusCode != 403 || got != nil {
					t.Errorf("%s: got %d %s", name, response.StatusCode, body)
				}
				continue
			}
			if got == nil {
				t.Errorf("%s: got %d %s", name, response.StatusCode, body)
				continue
			}
			arrived := got.RequestURI
			if c.header != "" {
				arrived = got.Header.Get(c.header)
			}
			if arrived != c.arrives {
				t.Errorf("%s: %q arrived, want %q", name, arrived, c.arrives)
			}
		}
	}
}

// Attack C6: a credential that turns out not to be replaceable when the request is already
// on its way. It must not leave, and who asks why must find it.
func TestAttackC6_WhatCannotBeReplacedAfterAllIsToldWhy(t *testing.T) {
	l := newLab(t, unreachable(t).route("api.example", &policy.Auth{Scheme: policy.Placeholder, Secret: "KEY"}))
	if response, _ := get(t, l.client(t, false), request(t, "GET", "http://other.example/", nil)); response.StatusCode != 403 { // it serves
		t.Fatalf("got %d", response.StatusCode)
	}
	now := l.server.rules.Load()
	asked := policy.Request{Protocol: policy.HTTPS, Host: "api.example", Port: 443, Method: "POST", Target: "/"}
	x := &exchange{
		refusal: refusal{protocol: policy.HTTPS, host: "api.example", port: 443}, rules: now, asked: asked, decision: now.set.Request(asked), started: time.Now(),
		search: &search{scanner: now.scanner, host: "api.example"},
	}
	answer := httptest.NewRecorder()
	l.server.send(answer, httptest.NewRequest("POST", "https://api.example/", strings.NewReader("data")), x)
	if answer.Code != 403 || !strings.Contains(answer.Body.String(), "placeholder_not_replaced") {
		t.Errorf("got %d %s", answer.Code, answer.Body)
	}
	l.awaitEvent(t, "the refusal", func(e audit.Event) bool {
		return e.Decision == audit.Deny && strings.Contains(e.Reason, "the placeholder of secret KEY does not stand in the request's head")
	})
}

// Attack C3: an upstream that echoes an address shows only so much of it, as error pages do. The
// bottle, which says what stands before the credential, has it cut off wherever it likes: one
// character before the end, and none is a whole credential to be masked.
func TestAttackC3_EchoesThatAreCutOff(t *testing.T) {
	const shown = 120
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		text := r.URL.EscapedPath() + "?" + r.URL.RawQuery
		w.Header().Set("X-Asked", text[:min(shown, len(text))]+"…")
		_, _ = fmt.Fprintf(w, "not found: %s… (%s)", text[:min(shown, len(text))], text[max(0, len(text)-shown):])
	})
	for name, c := range map[string]struct {
		auth  *policy.Auth
		begin string // of the address, up to what fills it
		end   string // behind that
	}{
		"path":          {&policy.Auth{Scheme: policy.Placeholder, Secret: "KEY"}, "/", placeholder},
		"parameter":     {&policy.Auth{Scheme: policy.Placeholder, Secret: "KEY"}, "/?a=", "&b=" + placeholder},
		"own parameter": {&policy.Auth{Scheme: policy.Query, Parameter: "odd", Secret: "KEY"}, "/?a=", ""},
	} {
		l := newLab(t, up.route("api.example", c.auth))
		client := l.client(t, true)
		for filled := range shown {
			response, body := get(t, client, request(t, "GET", "https://api.example"+c.begin+strings.Repeat("x", filled)+c.end, nil))
			for _, text := range []string{body, response.Header.Get("X-Asked")} {
				text = strings.ReplaceAll(text, "sk-ant-api03-", "…") // as the placeholder begins
				if n := longestPiece(text, realKey); n >= minPiece(realKey) {
					t.Errorf("%s, behind %d: %d characters of %d pass: %s", name, filled, n, len(realKey), text)
				}
			}
		}
	}
}

// Attack C3: the same, where what is cut off comes a few bytes at a time, spelled out or not, in the
// body or over a WebSocket: a star on one piece hides no other one.
func TestAttackC3_WhatIsCutOffComesInPieces(t *testing.T) {
	key := newNeedle("KEY", realKey, true)
	key.pieces = piecesOf(realKey, "")
	e := newEchoes([]needle{key, newNeedle("OTHER", otherReal, true)})
	for from := range len(realKey) {
		for _, to := range []int{len(realKey), len(realKey) - 1, len(realKey) - 5, from + minPiece(realKey) + 2} {
			if to > len(realKey) || to <= from {
				continue
			}
			for name, how := range spellings() {
				text := "a " + spell(realKey[from:from+1], how) + realKey[from+1:to] + " b " + spell(realKey[from:to], how) + " c " + otherReal
				for _, size := range []int{1, 3, 8, 64, 1 << 16} {
					body, err := io.ReadAll(maskBody(func() *echoes { return e }, io.NopCloser(&pieces{strings.NewReader(text), size}), nil))
					if err != nil {
						t.Fatal(err)
					}
					frame := append(head(0x81, false, len(text)), text...)
					socket, err := io.ReadAll(newSocket(&stub{chunks: slices.Collect(slices.Chunk(frame, size))}, e))
					if err != nil {
						t.Fatal(err)
					}
					for _, got := range []string{string(body), string(socket[len(socket)-len(text):])} {
						plain := got
						for v := (spelled{text: []byte(got)}); v.undo(); {
							plain += string(v.text)
						}
						if n := longestPiece(plain, realKey); n >= minPiece(realKey) || strings.Contains(got, otherReal) || len(got) != len(text) || got[:2] != "a " {
							t.Fatalf("%s, %d to %d, %d at a time: %d characters pass: %q of %q", name, from, to, size, n, got, text)
						}
					}
				}
			}
		}
	}
}

// A secret may have 64 KiB: its pieces are parts of one copy of it, which would fill the memory otherwise.
func TestPiecesAreNoCopies(t *testing.T) {
	value := strings.Repeat("0123456789abcdef", 4<<10)
	all := piecesOf(value, "")
	if want := len(value) - minPiece(value) + 1; len(all) != want || &all[1][0] != &all[0][1] || &all[want-1][0] != &all[want-2][1] {
		t.Errorf("%d pieces, want %d, all of them parts of one", len(all), want)
	}
}

// longestPiece is how long a piece of a value a text has.
func longestPiece(text, value string) (longest int) {
	for from := range value {
		for to := from + longest + 1; to <= len(value) && strings.Contains(text, value[from:to]); to++ {
			longest = to - from
		}
	}
	return longest
}
