package cli

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
)

// loggedIn writes a login of codex's that is good for a long time, and returns its token.
func loggedIn(t *testing.T, dir, name string) string {
	t.Helper()
	claims, err := json.Marshal(map[string]any{"jti": name, "exp": time.Now().Add(24 * time.Hour).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	token := "e30." + base64.RawURLEncoding.EncodeToString(claims) + ".c2ln"
	text := fmt.Sprintf(`{"tokens": {"access_token": %q, "refresh_token": "r"}}`, token)
	if err := os.WriteFile(filepath.Join(dir, "auth.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return token
}

// A bottle that runs is handed the token that is good now, once; one that it could not be
// handed, again.
func TestLoginsAreRenewed(t *testing.T) {
	b := &desked{bundled: &bundled{}}
	a, _ := refreshing(t, b.bundled)
	a.Backends = func(*App) ([]bottle.Backend, error) { return []bottle.Backend{b}, nil }
	a.logins = &logins{}
	dir := t.TempDir()
	a.LookupEnv = func(name string) (string, bool) { return dir, name == "CODEX_HOME" }
	wantTold := func(what string, want ...string) {
		t.Helper()
		var got []string
		for _, v := range b.told {
			got = append(got, v.Name+" "+v.Value)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %q, want %q", what, got, want)
		}
		b.told = nil
	}
	loggedIn(t, dir, "first")
	if err := a.renewLogins(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantTold("a bottle without a login")
	if err := os.WriteFile(filepath.Join(a.home, "bottles", "dev.md"), []byte("---\nsecrets: {CODEX_LOGIN: {login: codex}}\n---\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	first := loggedIn(t, dir, "first")
	if err := errors.Join(a.renewLogins(t.Context()), a.renewLogins(t.Context())); err != nil {
		t.Fatal(err)
	}
	wantTold("one whose token is not known, twice", "CODEX_LOGIN "+first)
	second := loggedIn(t, dir, "second")
	b.refuse = errors.New("egress is being started")
	if err := a.renewLogins(t.Context()); err == nil {
		t.Error("a bundle that does not take it is no error")
	}
	wantTold("a bundle that does not take it", "CODEX_LOGIN "+second)
	b.refuse = nil
	if err := a.renewLogins(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantTold("the same again", "CODEX_LOGIN "+second)
	loggedIn(t, dir, "third")
	if _, err := a.resolver()(t.Context(), manifest.SecretSource{Login: "codex"}); err != nil {
		t.Fatal(err)
	}
	a.markLogins(identity)
	if err := a.renewLogins(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantTold("one that was just started with it")
}
