package egress

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/secret"
)

// secrets are the bottle's, by name. They exist in this process's memory only.
type secrets struct {
	values       map[string]secret.Value
	placeholders map[string]string
	needles      []needle // what must not pass
	echoes       *echoes  // of the real ones
}

func newSecrets(cfg control.EgressConfig) (secrets, error) {
	s := secrets{values: make(map[string]secret.Value), placeholders: make(map[string]string)}
	for _, c := range cfg.Secrets {
		s.values[c.Name] = secret.New(c.Value)
		s.placeholders[c.Name] = c.Placeholder
		s.needles = append(s.needles, newNeedle(c.Name, c.Value, true), newNeedle(c.Name, c.Placeholder, false))
	}
	for _, r := range cfg.Routes {
		if r.Auth == nil {
			continue
		}
		if value := s.values[r.Auth.Secret]; value.Empty() {
			return s, fmt.Errorf("route %s needs secret %s, which is empty", r.Host, r.Auth.Secret)
		} else if !fitsHeader(value.Reveal()) {
			return s, fmt.Errorf("route %s needs secret %s, which holds line ends, surrounding spaces or control characters", r.Host, r.Auth.Secret)
		}
		if r.Auth.Scheme == policy.Placeholder && len(s.placeholders[r.Auth.Secret]) < minNeedle {
			return s, fmt.Errorf("route %s needs a placeholder for secret %s that can be told from other text", r.Host, r.Auth.Secret)
		}
		if r.Auth.Scheme == policy.Placeholder || r.Auth.Scheme == policy.Query {
			s.place(r.Auth.Secret)
		}
	}
	return s, nil
}

// place notes that the bottle puts what it likes before a secret.
func (s *secrets) place(name string) {
	for i, n := range s.needles {
		if n.real && n.name == name {
			s.needles[i].pieces = piecesOf(string(n.plain), s.placeholders[name])
		}
	}
}

// maxRemembered bounds the secrets that are remembered after they were replaced.
const maxRemembered = 64

// remember goes on watching for what was a secret before: a key that was replaced may
// still open the door.
func (s *secrets) remember(old secrets) {
	known := func(n needle) bool {
		return slices.ContainsFunc(s.needles, func(m needle) bool { return bytes.Equal(m.plain, n.plain) })
	}
	for _, n := range old.needles {
		if len(s.needles) < 2*(len(s.values)+maxRemembered) && !known(n) {
			s.needles = append(s.needles, n)
		}
	}
}

// fitsHeader reports whether a value can be sent as it is (RFC 9110 §5.5).
func fitsHeader(value string) bool {
	control := func(r rune) bool { return r < 0x20 && r != '\t' || r == 0x7f }
	return strings.TrimSpace(value) == value && !strings.ContainsFunc(value, control)
}

// credentialHeaders are where clients put credentials. On a route that carries ours
// they all go, whichever the route uses: a bottle that adds its own key beside ours
// would otherwise talk to its own account (ATTACKS C1).
var credentialHeaders = []string{
	"Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key", "Api-Key", "Apikey", "X-Apikey", "X-Auth-Token", "X-Auth-Key",
	"X-Access-Token", "X-Goog-Api-Key", "X-Goog-Iam-Authorization-Token", "X-Amz-Security-Token", "X-Amz-Content-Sha256",
	"X-Amz-Date", "Private-Token", "Job-Token", "Deploy-Token", "X-Gitlab-Token", "X-Github-Token", "X-Token", "X-Session-Token",
	"X-Csrf-Token", "X-Vault-Token", "Dd-Api-Key", "Dd-Application-Key", "Ocp-Apim-Subscription-Key", "X-Rapidapi-Key",
	"Cookie2", "Authentication", "X-Jfrog-Art-Api", "X-Functions-Key", "X-Master-Key", "X-Admin-Key",
}

// credentialHeader reports whether a header may carry a credential. Names are compared
// as servers do that cannot tell "_" from "-" (CGI, RFC 3875 §4.1.18).
func credentialHeader(name string) bool { return meaningOf(name).credential }

func namesSecretHeader(dashed string) bool {
	for _, end := range []string{"-api-key", "-apikey", "-token", "-secret", "-password", "-passwd", "-access-key", "-authorization", "-auth", "-credential", "-credentials", "-jwt"} {
		if strings.HasSuffix(dashed, end) {
			return true
		}
	}
	return slices.ContainsFunc(credentialHeaders, func(known string) bool { return strings.EqualFold(known, dashed) })
}

// credentialParameters are the same in a query, with "_" for what may be written for it.
var credentialParameters = []string{
	"access_token", "api_key", "apikey", "key", "token", "auth", "auth_token", "private_token", "oauth_token", "job_token", "deploy_token",
	"personal_access_token", "session_token", "bearer", "bearer_token", "authorization", "jwt", "id_token", "client_secret", "password", "secret",
	"access_key", "accesskey", "auth_key", "app_key", "application_key", "subscription_key", "awsaccesskeyid",
	"x_api_key", "sig", "signature", "x_amz_signature", "x_amz_credential", "x_amz_security_token", "x_goog_signature", "x_goog_credential",
}

// credentialFields are those of a form that some servers prefer to a header. Other names
// of credentials are too often the names of something else there.
var credentialFields = []string{"access_token", "api_key", "apikey", "private_token", "oauth_token", "auth_token", "token", "job_token", "bearer_token", "x_api_key"}

// plainName is a parameter's name as servers read it: without regard to case, to what is
// written for "_", to an index behind it.
func plainName(name string) string {
	name, _, _ = strings.Cut(strings.TrimSpace(name), "[")
	name, _, _ = strings.Cut(name, "\x00")
	return strings.Map(plainRune, name)
}

// oneOf reports whether servers may read a name as one of a list: to some of them a bracket
// that is not closed is one more "_".
func oneOf(list []string, name string) bool {
	open := strings.Contains(name, "[") && !strings.Contains(name, "]")
	return slices.Contains(list, plainName(name)) || open && slices.Contains(list, plainName(strings.Replace(name, "[", "_", 1)))
}

func plainRune(r rune) rune {
	switch {
	case r == '-' || r == '.' || r == ' ':
		return '_'
	case r >= 'A' && r <= 'Z':
		return r - 'A' + 'a'
	}
	return unicode.ToLower(r)
}

func namesCredential(name string) bool { return oneOf(credentialFields, name) }

// stripProtocols takes off the subprotocols of a WebSocket that hold a credential: browsers
// can send none elsewhere (ATTACKS C1).
func stripProtocols(h http.Header) {
	const header = "Sec-Websocket-Protocol"
	if _, ok := h[header]; !ok {
		return
	}
	var kept []string
	for protocol := range strings.SplitSeq(strings.Join(h[header], ","), ",") {
		plain := plainName(protocol)
		holds := func(word string) bool { return strings.Contains(plain, word) }
		if plain != "" && !slices.ContainsFunc([]string{"api_key", "apikey", "token", "bearer", "auth", "secret", "password", "jwt", "credential"}, holds) {
			kept = append(kept, strings.TrimSpace(protocol))
		}
	}
	if len(h[header]) > 0 {
		h[header] = kept
	}
	if len(kept) == 0 {
		delete(h, header)
	}
}

// strip takes every credential of the bottle's off a request.
func strip(r *http.Request, auth *policy.Auth) {
	own := plainName(auth.Header)
	for name := range r.Header {
		if m := meaningOf(name); m.credential || own != "" && m.plain == own {
			delete(r.Header, name)
		}
	}
	r.URL.User = nil
	r.URL.RawQuery = stripQuery(r.URL.RawQuery, auth.Parameter)
}

// stripQuery drops credential parameters, own among them, and leaves the rest byte for
// byte. A part whose name cannot be read goes too.
func stripQuery(raw, own string) string {
	if raw == "" {
		return ""
	}
	credential := func(part string) bool { return credentialPart(part, own) }
	var kept []string
	for part := range strings.SplitSeq(raw, "&") {
		if !slices.ContainsFunc(strings.Split(part, ";"), credential) { // some servers split there too
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "&")
}

func credentialPart(part, own string) bool {
	name, _, _ := strings.Cut(part, "=")
	plain, err := url.QueryUnescape(name)
	return err != nil || oneOf(credentialParameters, plain) || own != "" && oneOf([]string{plainName(own)}, plain)
}

// inject puts a credential on.
func inject(r *http.Request, auth *policy.Auth, value string) {
	switch auth.Scheme {
	case policy.Bearer:
		r.Header.Set("Authorization", "Bearer "+value)
	case policy.Basic:
		r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(auth.User+":"+value)))
	case policy.Header:
		r.Header.Set(auth.Header, value)
	case policy.Query:
		parameter := url.QueryEscape(auth.Parameter) + "=" + url.QueryEscape(value)
		r.URL.RawQuery = strings.TrimPrefix(r.URL.RawQuery+"&"+parameter, "&")
	}
}
