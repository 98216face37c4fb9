package e2e

import (
	"net"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/test/standin"
)

// The other kind of credential, a subscription's token: headless and on a terminal,
// the upstream gets the real one as a bearer, and the bottle a placeholder.
func TestSubscriptionToken(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{Answer: "PAPAYA-2096"})
	_, port, err := net.SplitHostPort(h.Standin.Address)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Write("bottles/dev.md", `---
secrets:
  CLAUDE_CODE_OAUTH_TOKEN: {env: ANTHROPIC_API_KEY}
egress:
  routes:
    - host: api.anthropic.com
      auth: {scheme: bearer, secret: CLAUDE_CODE_OAUTH_TOKEN}
      ca: ../standin.pem
      address: `+gatewayName()+`:`+port+`
      private: true
---
`); err != nil {
		t.Fatal(err)
	}
	if r := h.run(0, "", "start", "-y", "--rm", "claude", "--", "-p", "which fruit?"); strings.TrimSpace(r.Stdout) != "PAPAYA-2096" {
		t.Errorf("got %q", r.Stdout)
	}
	s := h.terminal("start", "-y", "--rm", "claude")
	s.wait("bypass permissions on")
	s.send("which fruit?")
	s.wait("which fruit?")
	s.send("\r")
	s.wait("PAPAYA-2096")
	s.send("/exit")
	s.wait("/exit")
	s.send("\r")
	if code := s.end(); code != 0 {
		t.Errorf("got status %d", code)
	}
	for _, request := range h.Standin.Requests() {
		if request.Header.Get("Authorization") != "Bearer "+h.Key || request.Header.Get("X-Api-Key") != "" {
			t.Errorf("%s %s came with another credential", request.Method, request.Path)
		}
	}
}
