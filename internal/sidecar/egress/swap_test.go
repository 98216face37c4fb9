package egress

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
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
