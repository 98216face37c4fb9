package dlp

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// example makes a token of a rule's shape.
func example(t *testing.T, r *rule, seed uint64) string {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 11))
	switch {
	case r.id == "private-key":
		der, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(randomBytes(32)))
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	case r.id == "jwt":
		return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"1234","name":"x y"}`)) + "." + randomToken(43, seed)
	}
	for range 1000 {
		var token strings.Builder
		for _, p := range r.parts {
			token.WriteString(p.literal)
			var members []byte
			for c := range 256 {
				if p.class != nil && p.class[c] {
					members = append(members, byte(c))
				}
			}
			for range p.min {
				token.WriteByte(members[random.IntN(len(members))])
			}
		}
		text := token.String()
		last := text[len(text)-1]
		if entropy([]byte(text)) >= r.entropy && (r.check == nil || r.check([]byte(text))) && isAlnum(text[0]) == isAlnum(r.firstLetter()) && (isAlnum(last) || last == '=') {
			return text
		}
	}
	t.Fatalf("%s: no token of this shape can be found", r.pattern)
	return ""
}

// firstLetter is of the tokens that example makes.
func (r *rule) firstLetter() byte {
	if r.parts[0].class == nil {
		return r.parts[0].literal[0]
	}
	return 'a'
}

// Every shape is found in clear, in JSON and behind encodings; not for its own provider;
// and not when it is part of a longer word.
func TestEachShapeIsFound(t *testing.T) {
	s := newScanner(t, Options{})
	rules := s.engine().rules
	for i := range rules {
		r := &rules[i]
		t.Run(fmt.Sprint(r.id, " ", r.literal), func(t *testing.T) {
			token := example(t, r, uint64(i))
			for name, data := range map[string]string{
				"alone": token, "in text": "see " + token + " there", "in JSON": fmt.Sprintf("{%q: %q}", "key", token), "assigned": "KEY=" + token + "\n",
				"base64": base64.StdEncoding.EncodeToString([]byte(token)), "base64, late": base64.StdEncoding.EncodeToString([]byte("k=" + token)), "hex": fmt.Sprintf("%x", token),
				"reversed": string(reversed([]byte(token))), "rot13": string(rot13([]byte(token))), "zero-width": between(token, "\u200b"),
			} {
				findings := scanBody(t, s, []byte(data))
				if !slices.ContainsFunc(findings, func(f Finding) bool { return f.Rule == r.id }) {
					t.Errorf("%s: got %v in %.300s", name, findings, data)
				}
			}
			if first := token[0]; isAlnum(first) && r.custom == nil && r.parts[0].class == nil {
				if findings := scanBody(t, s, []byte("x"+token)); slices.ContainsFunc(findings, func(f Finding) bool { return f.Rule == r.id && f.Encoding == nil }) {
					t.Errorf("found in a longer word: %v", findings)
				}
			}
		})
	}
}

// What is assigned to a name that says secret is found in the ways of many languages, and
// only if it looks random.
func TestAssignedSecrets(t *testing.T) {
	s := newScanner(t, Options{})
	value, key := "q7Zk2Wm9XcV4tR8bLh3Nf6Js", "wJ4rXUtn7EMI/K7MDENG+bPxRfiCYq5mPLaKEY2b"
	for name, c := range map[string]struct{ data, rule string }{
		"environment":           {"export DB_PASSWORD=" + value, RuleAssigned},
		"JSON":                  {`{"client_secret": "` + value + `"}`, RuleAssigned},
		"JSON in JSON":          {`{"body": "{\"clientSecret\": \"` + value + `\"}"}`, RuleAssigned},
		"YAML":                  {"auth:\n  apiKey: " + value + "\n", RuleAssigned},
		"Go":                    {"const apiKey = `" + value + "`", RuleAssigned},
		"Ruby":                  {`{ :secret_token => '` + value + `' }`, RuleAssigned},
		"a form":                {"user=me&password=" + value + "&x=1", RuleAssigned},
		"a header":              {"X-Api-Key: " + value + "\n", RuleAssigned},
		"AWS, a file":           {"aws_secret_access_key = " + key, "aws-secret-key"},
		"AWS, an answer":        {`{"Credentials": {"SecretAccessKey": "` + key + `"}}`, "aws-secret-key"},
		"AWS, environment":      {"AWS_SECRET_ACCESS_KEY=" + key, "aws-secret-key"},
		"a service account":     {`{"type": "service_account", "private_key": "` + strings.ReplaceAll(example(t, &rule{id: "private-key"}, 1), "\n", `\n`) + `"}`, "private-key"},
		"no value":              {"password=", ""},
		"a short one":           {"password=q7Zk2Wm9", ""},
		"a name":                {"secretName: my-service-Credentials-2024-production", ""},
		"code":                  {"token := parser.NextToken2(Reader3).String()", ""},
		"a call":                {"password = getPasswordFromVaultV2(Config1)", ""},
		"a path":                {"tokenFile: /var/run/secrets/Kubernetes.io/serviceaccount2/Token1", ""},
		"a digest":              {"token: " + fmt.Sprintf("%x", randomBytes(32)), ""},
		"an example":            {"api_key=EXAMPLE" + value, ""},
		"another name":          {"image: " + value, ""},
		"not behind it":         {"a secret is what nobody knows. " + value, ""},
		"AWS, not the length":   {"aws_secret_access_key = " + key + "AB/", RuleAssigned},
		"AWS, its example's":    {"aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""},
		"words of a long value": {"secret=TheQuick1BrownFoxjumpsoverthelazyDog22", ""},
	} {
		findings := scanBody(t, s, []byte(c.data))
		if got := slices.ContainsFunc(findings, func(f Finding) bool { return f.Rule == c.rule }); got != (c.rule != "") || c.rule == "" && len(findings) > 0 {
			t.Errorf("%s: got %v in %s, want %q", name, findings, c.data, c.rule)
		}
	}
}

// Attack C7: a host is called nearly like a provider. What is that provider's own business is
// not this one's.
func TestAttackC7_WhoLooksLikeTheProvider(t *testing.T) {
	s := newScanner(t, Options{})
	rules := s.engine().rules
	for i := range rules {
		r := &rules[i]
		if len(r.hosts) == 0 {
			continue
		}
		token := example(t, r, uint64(i))
		sees := func(host string) bool {
			findings, err := s.Scan(context.Background(), Input{Host: host, Kind: Body, Data: []byte("k: " + token)})
			if err != nil {
				t.Fatal(err)
			}
			return slices.ContainsFunc(findings, func(f Finding) bool { return f.Rule == r.id })
		}
		for _, own := range r.hosts {
			for _, host := range []string{own, "api." + own, strings.ToUpper(own), "eu.api." + own + "."} {
				if sees(host) {
					t.Errorf("%s is refused to %s", r.id, host)
				}
			}
			label, _, _ := strings.Cut(own, ".")
			for _, host := range []string{"evil" + own, "evil-" + own, own + ".evil.example", "api." + own + "e", own + "-evil.example", label + ".example", label, strings.ReplaceAll(own, ".", "-") + ".example", strings.ReplaceAll(own, ".", "x"), "", "."} {
				if !sees(host) {
					t.Errorf("%s goes to %q, which only looks like %s", r.id, host, own)
				}
			}
		}
	}
}

// Attack C7: the tokens of GitHub and npm end with a checksum of the rest. It is sent wrong,
// and whoever gets the token works the right one out.
func TestAttackC7_AWrongChecksum(t *testing.T) {
	s := newScanner(t, Options{})
	for prefix, n := range map[string]int{"ghp_": 36, "gho_": 36, "ghu_": 36, "ghs_": 36, "ghr_": 36, "npm_": 36, "LTAI": 20, "AKID": 32, "AQVN": 38, "EAAA": 60, "cio": 32} {
		for _, behind := range []string{"a", "7", "_", randomToken(40, 9)} {
			if findings := scanBody(t, s, []byte("k: "+prefix+randomToken(n, 1)+behind)); len(findings) == 0 {
				t.Errorf("%s, and %s behind it: got nothing", prefix, behind)
			}
		}
	}
}

// Attack F5: a character is put behind a token. Their prefixes are nobody else's, and GitHub says that its
// tokens may grow.
func TestAttackF5_ATokenWithSomethingBehindIt(t *testing.T) {
	s := newScanner(t, Options{})
	for i, prefix := range []string{"ghp_", "gho_", "ghu_", "ghs_", "ghr_", "npm_"} {
		for _, behind := range []string{"a", "7", "_", randomToken(40, 9)} {
			if findings := scanBody(t, s, []byte("k: "+prefix+randomToken(36, uint64(i))+behind)); len(findings) == 0 {
				t.Errorf("%s, and %s behind it: got nothing", prefix, behind)
			}
		}
	}
}

// What documentation shows is no token.
func TestWhatIsNoToken(t *testing.T) {
	s := newScanner(t, Options{})
	for name, data := range map[string]string{
		"example of AWS":    "AKIA" + "IOSFODNN7EXAMPLE",
		"x over and over":   "sk-ant-api03-" + strings.Repeat("x", 93),
		"a row":             "sk_live_" + "abcdefghijklmnopqrstuvwx",
		"JWT without alg":   "eyJ0eXAiOiJKV1QifQ.eyJzdWIiOiIxMjM0NTY3ODkwIn0." + randomToken(43, 3),
		"a public key":      "-----BEGIN PUBLIC KEY-----\n" + base64.StdEncoding.EncodeToString(randomBytes(100)),
		"PEM without a key": "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
		"task":              "a task-proj-management-and-more-words-that-are-joined-by-dashes",
		"digest":            "sha256:" + fmt.Sprintf("%x", randomBytes(32)),
		"UUID":              "123e4567-e89b-12d3-a456-426614174000",
	} {
		if findings := scanBody(t, s, []byte(data)); len(findings) > 0 {
			t.Errorf("%s: got %v", name, findings)
		}
	}
}

// Attack F5: one token in some five hundred has no digit, and passed for a name. Found by
// bot-bottle prove, whose tokens are made anew each time.
func TestAttackF5_ATokenWithoutADigit(t *testing.T) {
	s := newScanner(t, Options{})
	letters := strings.Repeat("bomWdqXfzdXDTAuPyAGi", 2)[:36] // the tests' own tokens are in no file as a whole
	for text, want := range map[string]bool{
		"use " + "ghp" + "_" + letters: true, "npm" + "_" + letters: true, "ghp" + "_" + strings.ToLower(letters): false, "ghp" + "_" + strings.ToUpper(letters): false,
	} {
		found, err := s.Scan(t.Context(), Input{Kind: Body, Data: []byte(text)})
		if got := len(found) > 0; err != nil || got != want {
			t.Errorf("%s: found %v, want %v (%v)", text, got, want, err)
		}
	}
}

// A command line's telemetry is JSON with names, identifiers and base64, whose strings are searched joined:
// a name that ends as a token begins, with base64 behind it, is none, nor are words in snake case, nor a
// longer hash behind a short prefix.
func TestTelemetryHoldsNoToken(t *testing.T) {
	s := newScanner(t, Options{})
	dice := rand.New(rand.NewPCG(3, 4))
	blob := func(e *base64.Encoding) string {
		b := make([]byte, 60+dice.IntN(200))
		for i := range b {
			b[i] = byte(dice.Uint32())
		}
		return e.EncodeToString(b)
	}
	hashed := func(n int) string {
		return strings.ToLower(hex.EncodeToString([]byte(randomToken(n, dice.Uint64()))))[:n]
	}
	for range 300 {
		inner, err := json.Marshal(map[string]string{"rh": hashed(16), "live_": blob(base64.RawURLEncoding), "skill": "live_reload_of_settings_took_2_attempts_in_Bash_tool"})
		if err != nil {
			t.Fatal(err)
		}
		event, err := json.Marshal(map[string]any{"event_type": "ClaudeCodeInternalEvent", "event_data": map[string]string{
			"event_name": "tengu_keep_live_", "additional_metadata": base64.StdEncoding.EncodeToString(inner), "live_blob": blob(base64.URLEncoding), "live_": blob(base64.StdEncoding),
			"commit": "live_" + hashed(40), "test_" + hashed(40): "x", "key": "key-" + hashed(64), "id": "sk-" + hashed(64), "etag": "SK" + hashed(40), "cache": "fc-" + hashed(40),
		}})
		if err != nil {
			t.Fatal(err)
		}
		found, err := s.Scan(t.Context(), Input{Host: "api.anthropic.com", Kind: Body, ContentType: "application/json", Data: event})
		for _, f := range found {
			if f.Rule != RuleAssigned { // which only tells
				t.Fatalf("%v in %s, %v", f, event, err)
			}
		}
	}
}

// A token of GoCardless's is found where it stands as one, and not within something longer.
func TestGoCardless(t *testing.T) {
	const token = "live_k7Jq2-WzP0xR9sV4tB1nM6cD3fG8hL5aY_uEiQ2z"
	s := newScanner(t, Options{})
	for text, want := range map[string]bool{
		token:                            true,
		"GOCARDLESS=" + token + "\n":     true,
		`{"token": "` + token + `"}`:     true,
		"Authorization: Bearer " + token: true,
		base64.StdEncoding.EncodeToString([]byte("the token is " + token + ", keep it")): true,
		"is_" + token:       false,
		token + "a":         false,
		token + "-and-more": false,
		"live_query_Jumped_over_9_lazy_dogs_with_boxfk": false,
		"live_" + strings.Repeat("a1", 20):              false,
	} {
		found, err := s.Scan(t.Context(), Input{Host: "example.com", Kind: Body, Data: []byte(text)})
		got := slices.ContainsFunc(found, func(f Finding) bool { return f.Rule == "gocardless-token" })
		if err != nil || got != want {
			t.Errorf("%s: got %v, %v", text, found, err)
		}
	}
	if n := len("live_") + 40; len(token) != n {
		t.Fatalf("the token has %d characters, not %d", len(token), n)
	}
}
