package provider

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/login"
)

// Codex would renew a login whose token is about to end: the one that stands for it never is, in
// both places where Codex looks, and names the account that the real one is of.
func TestALoginsPlaceholderDoesNotEnd(t *testing.T) {
	p, err := For("codex")
	if err != nil {
		t.Fatal(err)
	}
	token := Placeholder(codexLogin)
	of := login.Account{ID: "an-account", Plan: "plus"}
	setup := p.Setup(Input{Credential: codexLogin, Placeholders: map[string]string{codexLogin: token}, Account: of})
	var file struct {
		Tokens struct {
			ID      string `json:"id_token"`
			Access  string `json:"access_token"`
			Account string `json:"account_id"`
		}
	}
	if err := json.Unmarshal(setup.Files[2].Data, &file); err != nil {
		t.Fatal(err)
	}
	if told, ok := login.AccountOf(file.Tokens.ID); !ok || told != of || file.Tokens.Account != of.ID || file.Tokens.Access != token {
		t.Errorf("got %s", setup.Files[2].Data)
	}
	for _, jwt := range []string{token, file.Tokens.ID} {
		var claims struct{ Exp int64 }
		data, err := base64.RawURLEncoding.DecodeString(strings.Split(jwt, ".")[1])
		if err != nil || json.Unmarshal(data, &claims) != nil || time.Until(time.Unix(claims.Exp, 0)) < 20*365*24*time.Hour {
			t.Errorf("%s ends: %s, %v", jwt, data, err)
		}
	}
}
