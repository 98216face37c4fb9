package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/test/standin"
)

// issuer stands in for auth.openai.com: a refresh token is good once, and using one again is
// remembered.
type issuer struct {
	*httptest.Server
	mu     sync.Mutex
	serial int
	reused int
}

func newIssuer(t *testing.T) *issuer {
	i := &issuer{}
	i.Server = httptest.NewServer(http.HandlerFunc(i.serve))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) serve(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	var asked map[string]string
	_ = json.NewDecoder(r.Body).Decode(&asked)
	if r.URL.Path != "/oauth/token" || asked["grant_type"] != "refresh_token" || asked["refresh_token"] != fmt.Sprint("refresh-", i.serial) {
		i.reused++
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"error":{"code":"refresh_token_reused"}}`))
		return
	}
	i.serial++
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": accessToken(i.serial, time.Hour), "refresh_token": fmt.Sprint("refresh-", i.serial), "token_type": "Bearer", "expires_in": 3600})
}

// accessToken is one of an hour, of which so much is left.
func accessToken(serial int, left time.Duration) string {
	end := time.Now().Add(left)
	payload, _ := json.Marshal(map[string]any{
		"jti": fmt.Sprint("the real access token ", serial), "iat": end.Add(-time.Hour).Unix(), "exp": end.Unix(),
		"https://api.openai.com/auth": map[string]any{"chatgpt_account_id": "account-of-the-operator", "chatgpt_plan_type": "plus", "chatgpt_user_id": "user-1"},
	})
	return "eyJhbGciOiJSUzI1NiJ9." + base64.RawURLEncoding.EncodeToString(payload) + "." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "a signature of token %04d", serial))
}

// logIn writes the operator's own login, of which so much is left.
func (i *issuer) logIn(t *testing.T, home string, left time.Duration) {
	t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	data, err := json.Marshal(map[string]any{
		"auth_mode": "chatgpt", "OPENAI_API_KEY": nil, "last_refresh": time.Now().UTC(),
		"tokens": map[string]any{"id_token": accessToken(0, left), "access_token": accessToken(100+i.serial, left), "refresh_token": fmt.Sprint("refresh-", i.serial), "account_id": "account-of-the-operator"},
	})
	if err == nil {
		err = os.MkdirAll(home, 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(home, "auth.json"), data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// member is a lab whose agent is Codex with the operator's login.
func member(t *testing.T) (house, *issuer, string) {
	t.Helper()
	h := open(t, standin.Options{Answer: "forty-two"})
	upstream, err := standin.New(standin.Options{Listen: h.Standin.Address[:strings.LastIndex(h.Standin.Address, ":")] + ":0", Answer: "forty-two"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = upstream.Close(t.Context()) })
	_ = h.Standin.Close(t.Context())
	h.Standin = upstream // it takes any token, and tells which it was
	i := newIssuer(t)
	codexHome := filepath.Join(t.TempDir(), "codex")
	h.Extra = []string{"CODEX_HOME=" + codexHome, "CODEX_REFRESH_TOKEN_URL_OVERRIDE=" + i.URL + "/oauth/token"}
	_, port, err := net.SplitHostPort(upstream.Address)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"standin.pem": upstream.CA,
		"bottles/member.md": `---
agent_provider: {template: codex}
secrets: {CODEX_LOGIN: {login: codex}}
egress:
  routes:
    - host: chatgpt.com
      paths: [/backend-api/codex/responses, "/backend-api/codex/responses/**", /backend-api/codex/models, /backend-api/wham/accounts/check]
      auth: {scheme: bearer, secret: CODEX_LOGIN}
      ca: ../standin.pem
      address: host.docker.internal:` + port + `
      private: true
---
`,
		"agents/member.md": "---\nbottle: member\n---\nYou answer in one line.\n",
	} {
		if err := h.Write(name, content); err != nil {
			t.Fatal(err)
		}
	}
	return h, i, codexHome
}

// after runs the program once the test is over.
func (h house) after(args ...string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if r, err := h.Run(ctx, nil, args...); err != nil || r.Code != 0 {
		h.t.Errorf("%v: %v %s", args, err, r.Stderr)
	}
}

// tokens are those that arrived since the last call, each once, and nothing else may have.
func (h house) tokens(seen *int) (all []string) {
	h.t.Helper()
	requests := h.Standin.Requests()
	for _, r := range requests[*seen:] {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if r.Method == "WEBSOCKET" && !ok {
			continue
		}
		if !ok || r.Header.Get("Chatgpt-Account-Id") != "account-of-the-operator" {
			h.t.Errorf("%s %s came with %q and account %q", r.Method, r.Path, r.Header.Get("Authorization"), r.Header.Get("Chatgpt-Account-Id"))
		}
		if !slices.Contains(all, token) {
			all = append(all, token)
		}
	}
	*seen = len(requests)
	return all
}

// The real Codex answers with the operator's login with ChatGPT: it sees a placeholder, the
// upstream the access token, which was renewed since it was about to end, and the new refresh
// token is where the operator's own codex finds it.
func TestCodexWithALogin(t *testing.T) {
	t.Parallel()
	h, i, codexHome := member(t)
	i.logIn(t, codexHome, 5*time.Minute)
	seen := 0
	r := h.run(0, "", "start", "-y", "member", "--", "what is the answer?")
	if strings.TrimSpace(r.Stdout) != "forty-two" {
		t.Errorf("got %q %s", r.Stdout, r.Stderr)
	}
	identity := identityOf(t, r.Stderr)
	t.Cleanup(func() { h.after("rm", "-y", identity) })
	if got := h.tokens(&seen); !slices.Equal(got, []string{accessTokenOf(t, codexHome)}) || i.serial != 1 {
		t.Errorf("the upstream got %q after %d refreshes", got, i.serial)
	}
	kept, err := os.ReadFile(filepath.Join(codexHome, "auth.json"))
	if err != nil || !strings.Contains(string(kept), `"refresh_token": "refresh-1"`) {
		t.Errorf("kept %s, %v", kept, err)
	}
	if log := h.run(0, "", "logs", identity); strings.Contains(log.Stdout, "auth.openai.com") {
		t.Errorf("codex tried to renew its login itself: %s", log.Stdout)
	}
}

func accessTokenOf(t *testing.T, codexHome string) string {
	t.Helper()
	var f struct {
		Tokens struct {
			Access string `json:"access_token"`
		}
	}
	data, err := os.ReadFile(filepath.Join(codexHome, "auth.json"))
	if err != nil || json.Unmarshal(data, &f) != nil {
		t.Fatal(err)
	}
	return f.Tokens.Access
}

// Two bottles of one login at once: its refresh token, good once, is used once, at their
// start and when the token is about to end while they run; both get the new one. None of the
// tokens is in a bottle.
func TestAttackC11_ALoginStaysOutside(t *testing.T) {
	t.Parallel()
	h, i, codexHome := member(t)
	i.logIn(t, codexHome, -time.Minute)
	if err := h.Write("agents/member.md", "---\nbottle: waiter\n---\n"); err != nil {
		t.Fatal(err)
	}
	if err := h.Write("waiter/Dockerfile", "USER root\nRUN mv /usr/local/bin/codex /usr/local/bin/real-codex && printf '#!/bin/sh\\nexec sleep infinity\\n' > /usr/local/bin/codex && chmod 755 /usr/local/bin/codex\n"); err != nil {
		t.Fatal(err)
	}
	if err := h.Write("bottles/waiter.md", "---\nextends: member\nagent_provider: {dockerfile: "+filepath.Join(h.Home, "waiter", "Dockerfile")+"}\n---\n"); err != nil {
		t.Fatal(err)
	}
	h.run(0, "", "build", "member")
	var identities [2]string
	var both sync.WaitGroup
	for n := range identities {
		both.Go(func() {
			r, err := h.Run(t.Context(), nil, "start", "-y", "--detach", "--rm", "member")
			if err != nil || r.Code != 0 {
				t.Errorf("got %v %s", err, r.Stderr)
			}
			identities[n] = strings.TrimSpace(r.Stdout)
		})
	}
	both.Wait()
	t.Cleanup(func() { h.after(append([]string{"stop"}, identities[:]...)...) })
	ask := func() {
		t.Helper()
		for _, identity := range identities {
			r := h.run(0, "", "exec", identity, "--", "sh", "-c", "cd /workspace && real-codex exec --skip-git-repo-check 'what is the answer?' < /dev/null")
			if strings.TrimSpace(r.Stdout) != "forty-two" {
				t.Errorf("got %q %s", r.Stdout, r.Stderr)
			}
		}
	}
	seen := 0
	ask()
	if got := h.tokens(&seen); !slices.Equal(got, []string{accessTokenOf(t, codexHome)}) || i.serial != 1 || i.reused != 0 {
		t.Errorf("the upstream got %q after %d refreshes and %d with a used token", got, i.serial, i.reused)
	}
	i.logIn(t, codexHome, 2*time.Minute)
	ask()
	if got := h.tokens(&seen); !slices.Equal(got, []string{accessTokenOf(t, codexHome)}) || i.serial != 2 || i.reused != 0 {
		t.Errorf("the upstream got %q after %d refreshes and %d with a used token", got, i.serial, i.reused)
	}
	for _, identity := range identities {
		for _, secret := range []string{"refresh-1", "refresh-2", strings.Split(accessTokenOf(t, codexHome), ".")[2]} {
			search := "a=" + secret[:4] + " b=" + secret[4:] + `; grep -rlaF "$a$b" /home/node /workspace /etc /tmp /run 2>/dev/null; for p in /proc/[0-9]*; do for f in environ cmdline; do tr '\0' '\n' < $p/$f 2>/dev/null | grep -aqF "$a$b" && echo $p/$f; done; done; true`
			if r := h.inside(identity, search); r.Stdout != "" {
				t.Errorf("%s is in the bottle: %s", secret, r.Stdout)
			}
		}
	}
}
