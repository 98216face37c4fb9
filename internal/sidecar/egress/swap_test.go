package egress

import (
	"encoding/base64"
	"net/http"
	"testing"

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
