package resolve

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/secret"
)

// Attack C10: a copy of a secret lies beside the Dockerfile of a bottle, encoded as tools do that.
func TestAttackC10_EncodedSecretsAreFoundBesideADockerfile(t *testing.T) {
	const value = "sk-ant-api03-a value/with+much in it, and so long that base64 takes it to a second line=="
	find := Plan{Secrets: map[string]secret.Value{"KEY": secret.New(value), "PIN": secret.New("0417")}}.secretFinder()
	standard := base64.StdEncoding.EncodeToString([]byte(value))
	lines := standard[:76] + "\n" + standard[76:] + "\n"
	for name, text := range map[string]string{
		"as it is":             "key: " + value + "\n",
		"short":                "pin=0417",
		"base64":               standard,
		"base64 in lines":      lines,
		"base64 in CRLF lines": strings.ReplaceAll(lines, "\n", "\r\n"),
		"base64 for URLs":      base64.URLEncoding.EncodeToString([]byte(value)),
		"base64 behind a":      base64.StdEncoding.EncodeToString([]byte("a" + value)),
		"base64 behind ab":     base64.StdEncoding.EncodeToString([]byte("ab" + value + "and more")),
		"basic credentials":    "Basic " + base64.StdEncoding.EncodeToString([]byte("user:"+value)),
		"hex":                  hex.EncodeToString([]byte(value)),
		"HEX":                  strings.ToUpper(hex.EncodeToString([]byte(value))),
		"in a query":           "?k=" + url.QueryEscape(value),
		"in a path":            "/" + url.PathEscape(value),
	} {
		if !find([]byte(text)) {
			t.Errorf("%s is not found", name)
		}
	}
	for _, text := range []string{"", "nothing", value[:len(value)-1], standard[:len(standard)/2], base64.StdEncoding.EncodeToString([]byte("0417"))} {
		if find([]byte(text)) {
			t.Errorf("%q is found", text)
		}
	}
	if empty := (Plan{Secrets: map[string]secret.Value{"NONE": secret.New("")}}).secretFinder(); empty([]byte("anything")) {
		t.Error("an empty secret is found in everything")
	}
}
