// Package login keeps logins of command lines good whose tokens end: a bottle gets the
// access token through egress, and the refresh token stays on the host.
//
// A refresh token is good once. So the file in which the command line itself keeps it is the
// only place of it, one process at a time refreshes, and what came is on the disk before
// anything else is done with it. It must never print a token, also not in an error.
package login

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// What Codex itself uses.
const (
	codexClient = "app_EMoamEEZ73f0CkXaXp7hrann" // its public client id
	codexURL    = "https://auth.openai.com/oauth/token"
	codexURLEnv = "CODEX_REFRESH_TOKEN_URL_OVERRIDE"
)

// Bounds.
const (
	leastLeft    = 10 * time.Minute // of an access token's life; less, or less than a quarter, is refreshed
	refreshLimit = 30 * time.Second
	maxFile      = 1 << 20
)

// Codex is the login with ChatGPT of the operator's own codex.
type Codex struct {
	Path   string // of its auth.json
	URL    string // of the token endpoint
	Client *http.Client
	Now    func() time.Time
}

// NewCodex finds the operator's login as codex does: in $CODEX_HOME, else in ~/.codex.
func NewCodex(lookupEnv func(string) (string, bool)) (Codex, error) {
	value := func(name string) string {
		if v, ok := lookupEnv(name); ok {
			return v
		}
		return ""
	}
	dir := value("CODEX_HOME")
	if dir == "" {
		dir = filepath.Join(value("HOME"), ".codex")
	}
	if !filepath.IsAbs(dir) {
		return Codex{}, errors.New("there is no home directory to look for codex's login in")
	}
	c := Codex{Path: filepath.Join(dir, "auth.json"), URL: codexURL, Client: &http.Client{CheckRedirect: noRedirect}, Now: time.Now}
	if other := value(codexURLEnv); other != "" {
		c.URL = other
	}
	return c, checkURL(c.URL)
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// checkURL refuses to send a token in clear, but to this machine.
func checkURL(address string) error {
	u, err := url.Parse(address)
	if err == nil && u.Scheme == "https" && u.Host != "" {
		return nil
	}
	if err == nil && u.Scheme == "http" && net.ParseIP(u.Hostname()).IsLoopback() {
		return nil
	}
	return fmt.Errorf("%s is no address that a token may be sent to", codexURLEnv)
}

// ErrOver says that a login cannot be refreshed any more: whose it is has to log in again.
var ErrOver = errors.New("codex's login is over: run codex login")

// Token is the access token: good for a while, refreshed before if it ends soon. One that is
// still good is returned also where the refresh fails, unless that cost the login: that is an
// error at once. It may be called by many processes at a time.
func (c Codex) Token(ctx context.Context) (string, error) {
	now, err := c.read()
	if err != nil {
		return "", err
	}
	if c.fresh(now.access()) {
		return now.access(), nil
	}
	refreshed, err := c.refresh(ctx)
	if err != nil && refreshed == "" && c.left(now.access()) > 0 {
		return now.access(), nil
	}
	return refreshed, err
}

// refresh is done by one process at a time; the next finds what the one before got. With a token
// and an error, the refresh token was spent and the new one is lost.
func (c Codex) refresh(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, refreshLimit)
	defer cancel()
	held, err := take(ctx, c.Path+".bot-bottle-lock")
	if err != nil {
		return "", err
	}
	defer func() { _ = held.Close() }()
	_ = takeUp(c.Path, func(left string) bool { _, err := Codex{Path: left}.read(); return err == nil }) // what cannot be put in its place is not worse than before
	before, err := c.read()
	if err != nil || c.fresh(before.access()) {
		return before.access(), err
	}
	if held.refused(before.refresh(), c.Now()) {
		return "", ErrOver
	}
	place, err := reserve(c.Path)
	if err != nil {
		return "", fmt.Errorf("codex's login is not refreshed, since the new one could not be kept: %w", err)
	}
	defer place.close()
	// From here on nothing interrupts it: an answer that was not kept is a login lost.
	came, err := c.exchange(context.WithoutCancel(ctx), before.refresh())
	if errors.Is(err, ErrOver) {
		held.remember(before.refresh(), c.Now())
		return c.another(before)
	}
	if err != nil {
		return "", err
	}
	return came.Access, c.keep(place, before, came)
}

// another is what codex itself, which knows nothing of our lock, may have got meanwhile.
func (c Codex) another(before file) (string, error) {
	now, err := c.read()
	if err == nil && now.refresh() != before.refresh() && c.left(now.access()) > 0 {
		return now.access(), nil
	}
	return "", errors.Join(ErrOver, err)
}

// tokens are an answer of the endpoint.
type tokens struct {
	ID      string `json:"id_token"`
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

// exchange asks for new tokens, word for word as codex does.
func (c Codex) exchange(ctx context.Context, refresh string) (came tokens, err error) {
	ctx, cancel := context.WithTimeout(ctx, refreshLimit)
	defer cancel()
	question, err := json.Marshal(map[string]string{"client_id": codexClient, "grant_type": "refresh_token", "refresh_reason": "proactive_expiry", "refresh_token": refresh})
	if err != nil {
		return came, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(question))
	if err != nil {
		return came, err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := c.Client.Do(r)
	if err != nil {
		return came, fmt.Errorf("cannot refresh codex's login: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxFile))
	switch {
	case answer.StatusCode == http.StatusUnauthorized, answer.StatusCode == http.StatusBadRequest && bytes.Contains(data, []byte(`"invalid_grant"`)):
		return came, ErrOver
	case answer.StatusCode != http.StatusOK:
		return came, fmt.Errorf("cannot refresh codex's login: the server answers with status %d", answer.StatusCode)
	case err != nil || json.Unmarshal(data, &came) != nil || came.Access == "":
		return came, errors.New("cannot refresh codex's login: the server's answer makes no sense")
	}
	return came, nil
}

func (c Codex) fresh(token string) bool {
	claims, ok := read(token)
	if !ok || claims.Ends == 0 {
		return false
	}
	least := leastLeft
	if claims.Issued > 0 {
		least = max(least, time.Duration(claims.Ends-claims.Issued)*time.Second/4)
	}
	return c.left(token) > least
}

func (c Codex) left(token string) time.Duration {
	claims, ok := read(token)
	if !ok {
		return 0
	}
	return time.Unix(claims.Ends, 0).Sub(c.Now())
}

// Account is what of an access token is not secret.
type Account struct {
	ID   string `json:"chatgpt_account_id"`
	Plan string `json:"chatgpt_plan_type"`
	User string `json:"chatgpt_user_id"`
}

type claims struct {
	Ends    int64   `json:"exp"`
	Issued  int64   `json:"iat"`
	Account Account `json:"https://api.openai.com/auth"`
}

// AccountOf reads an access token's; false if it says none.
func AccountOf(token string) (Account, bool) {
	c, ok := read(token)
	return c.Account, ok && c.Account.ID != ""
}

// read reads a token's claims. Whether they are true is for its server to say.
func read(token string) (c claims, ok bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return c, false
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	return c, err == nil && json.Unmarshal(data, &c) == nil
}

// file is codex's own, all that we do not know of it included.
type file struct {
	all, tokens map[string]json.RawMessage
	mode        os.FileMode
}

func (f file) text(name string) (s string) {
	_ = json.Unmarshal(f.tokens[name], &s) // "" for none
	return s
}

func (f file) access() string  { return f.text("access_token") }
func (f file) refresh() string { return f.text("refresh_token") }

func (c Codex) read() (f file, err error) {
	info, err := os.Stat(c.Path)
	if err != nil {
		return f, fmt.Errorf("there is no login of codex's: %w; run codex login", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return f, fmt.Errorf("%s is not a file of codex's", c.Path)
	}
	data, err := os.ReadFile(c.Path)
	if err != nil {
		return f, err
	}
	f.mode = info.Mode().Perm()
	if json.Unmarshal(data, &f.all) != nil || json.Unmarshal(f.all["tokens"], &f.tokens) != nil || f.access() == "" || f.refresh() == "" {
		return f, fmt.Errorf("%s holds no login with ChatGPT: run codex login, with cli_auth_credentials_store = \"file\"", c.Path)
	}
	return f, nil
}

// keep writes what came back where codex finds it, at once and as a whole.
func (c Codex) keep(to *place, f file, came tokens) error {
	set := func(in map[string]json.RawMessage, name, value string) {
		if value != "" {
			in[name], _ = json.Marshal(value) // a string can be marshalled
		}
	}
	set(f.tokens, "access_token", came.Access)
	set(f.tokens, "id_token", came.ID)
	set(f.tokens, "refresh_token", came.Refresh)
	set(f.all, "last_refresh", c.Now().UTC().Format(time.RFC3339Nano))
	var err error
	if f.all["tokens"], err = json.Marshal(f.tokens); err != nil {
		return err
	}
	data, err := json.MarshalIndent(f.all, "", "  ")
	if err == nil {
		err = to.fill(append(data, '\n'), f.mode&0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot keep codex's new login: %w; run codex login", err)
	}
	return nil
}
