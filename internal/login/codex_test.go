package login

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// endpoint gives tokens for a refresh token that is good once, and remembers misuse.
type endpoint struct {
	*httptest.Server
	life time.Duration

	mu     sync.Mutex
	good   string // the one refresh token
	serial int
	misuse int
	status int // to answer with instead
}

func newEndpoint(t *testing.T) *endpoint {
	e := &endpoint{good: "refresh-0", life: time.Hour}
	e.Server = httptest.NewServer(http.HandlerFunc(e.serve))
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) serve(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var asked map[string]string
	if e.status != 0 {
		w.WriteHeader(e.status)
		return
	}
	if json.NewDecoder(r.Body).Decode(&asked) != nil || r.Header.Get("Content-Type") != "application/json" || asked["grant_type"] != "refresh_token" || asked["client_id"] != codexClient || asked["refresh_token"] != e.good {
		e.misuse++
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"error":{"code":"refresh_token_reused"}}`))
		return
	}
	e.serial++
	e.good = fmt.Sprintf("refresh-%d", e.serial)
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": jwt(fmt.Sprint("access-", e.serial), time.Now(), e.life), "refresh_token": e.good, "id_token": nil})
}

func jwt(name string, issued time.Time, life time.Duration) string {
	payload, _ := json.Marshal(map[string]any{"jti": name, "iat": issued.Unix(), "exp": issued.Add(life).Unix(), "https://api.openai.com/auth": map[string]any{"chatgpt_account_id": "acc-1"}})
	return "e30." + base64.RawURLEncoding.EncodeToString(payload) + ".c2ln"
}

func nameOf(token string) string {
	var c struct{ Jti string }
	data, _ := base64.RawURLEncoding.DecodeString(strings.Split(token+"..", ".")[1])
	_ = json.Unmarshal(data, &c)
	return c.Jti
}

// store is an auth.json whose access token has so much left of an hour.
func store(t *testing.T, left time.Duration) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "auth.json")
	write(t, path, jwt("access-old", time.Now().Add(left-time.Hour), time.Hour), "refresh-0")
	return path
}

func write(t *testing.T, path, access, refresh string) {
	t.Helper()
	data, _ := json.Marshal(map[string]any{"auth_mode": "chatgpt", "OPENAI_API_KEY": nil, "unknown": 17, "tokens": map[string]any{"id_token": "i", "access_token": access, "refresh_token": refresh, "account_id": "acc-1"}})
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (e *endpoint) codex(path string) Codex {
	return Codex{Path: path, URL: e.URL, Client: e.Client(), Now: time.Now}
}

func TestToken(t *testing.T) {
	for name, c := range map[string]struct {
		left   time.Duration
		status int
		want   string // "" for an error
	}{
		"far from its end":                 {50 * time.Minute, 0, "access-old"},
		"near its end":                     {14 * time.Minute, 0, "access-1"},
		"ended":                            {-time.Minute, 0, "access-1"},
		"near its end, without a server":   {14 * time.Minute, 500, "access-old"},
		"ended, without a server":          {-time.Minute, 500, ""},
		"near its end, and the login over": {14 * time.Minute, 401, "access-old"},
		"ended, and the login over":        {-time.Minute, 401, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEndpoint(t)
			e.status = c.status
			path := store(t, c.left)
			token, err := e.codex(path).Token(t.Context())
			if nameOf(token) != c.want || (err != nil) != (c.want == "") || c.status == 401 && err != nil && !errors.Is(err, ErrOver) {
				t.Errorf("got %q, %v", nameOf(token), err)
			}
			kept, err := e.codex(path).read()
			if err != nil || c.want == "access-1" != (kept.refresh() == "refresh-1") || string(kept.all["unknown"]) != "17" || kept.text("account_id") != "acc-1" {
				t.Errorf("kept %v, %v", kept, err)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("got %v, %v", info.Mode(), err)
			}
		})
	}
}

// Many processes, one refresh token that is good once: it is used once, and each of them
// gets the same new token.
func TestOneRefreshForAll(t *testing.T) {
	e := newEndpoint(t)
	path := store(t, -time.Minute)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			token, err := e.codex(path).Token(t.Context())
			if err != nil || nameOf(token) != "access-1" {
				t.Errorf("got %q, %v", nameOf(token), err)
			}
		})
	}
	all.Wait()
	if e.serial != 1 || e.misuse != 0 {
		t.Errorf("%d refreshes, %d with a used token", e.serial, e.misuse)
	}
}

// The operator's own codex knows nothing of our lock: if it was first, what it got is taken.
func TestCodexWasFirst(t *testing.T) {
	e := newEndpoint(t)
	path := store(t, -time.Minute)
	e.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		write(t, path, jwt("access-codex", time.Now(), time.Hour), "refresh-codex")
		w.WriteHeader(http.StatusUnauthorized)
	})
	if token, err := e.codex(path).Token(t.Context()); err != nil || nameOf(token) != "access-codex" {
		t.Errorf("got %q, %v", nameOf(token), err)
	}
}

// Attack C10: what is wrong with a login is told without its tokens.
func TestAttackC10_ALoginsErrorsHoldNoToken(t *testing.T) {
	e := newEndpoint(t)
	e.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`{"error": "refresh-0 is bad`))
	})
	path := store(t, -time.Minute)
	for name, c := range map[string]Codex{"nonsense": e.codex(path), "no server": {Path: path, URL: "http://127.0.0.1:1/", Client: e.Client(), Now: time.Now}} {
		_, err := c.Token(t.Context())
		if err == nil || strings.Contains(err.Error(), "refresh-0") || strings.Contains(err.Error(), "e30.") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestNoLogin(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth.json")
	for name, content := range map[string]string{"none": "", "an API key": `{"auth_mode":"apikey","OPENAI_API_KEY":"sk-x"}`, "nonsense": "{", "no refresh token": `{"tokens":{"access_token":"a"}}`} {
		if content != "" {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := (Codex{Path: path, Now: time.Now}).Token(t.Context()); err == nil || !strings.Contains(err.Error(), "codex login") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestWhereATokenMayGo(t *testing.T) {
	for address, ok := range map[string]bool{"": true, "https://auth.example/token": true, "http://127.0.0.1:9/token": true, "http://auth.example/token": false, "http://localhost.example/": false, "file:///etc/passwd": false, "https:": false} {
		_, err := NewCodex(func(name string) (string, bool) {
			return map[string]string{"HOME": "/home/somebody", codexURLEnv: address}[name], true
		})
		if ok != (err == nil) {
			t.Errorf("%q: got %v", address, err)
		}
	}
}

// A refresh token is good once: it is not spent where what comes for it could not be kept.
func TestNothingIsSpentThatCannotBeKept(t *testing.T) {
	for left, want := range map[time.Duration]string{14 * time.Minute: "access-old", -time.Minute: ""} {
		e := newEndpoint(t)
		// There is a lock of this file, and no room for the name of another beside it.
		path := filepath.Join(t.TempDir(), strings.Repeat("a", 255-len(".bot-bottle-lock")-1))
		write(t, path, jwt("access-old", time.Now().Add(left-time.Hour), time.Hour), "refresh-0")
		c := e.codex(path)
		token, err := c.Token(t.Context())
		if nameOf(token) != want || (err == nil) != (want != "") || e.serial != 0 {
			t.Errorf("got %q, %v; %d refreshes", nameOf(token), err, e.serial)
		}
	}
}

// Nothing is left beside the file, whatever became of a refresh, or of the one before.
func TestNothingIsLeftBesideALogin(t *testing.T) {
	for _, status := range []int{0, 500, 401} {
		e := newEndpoint(t)
		e.status = status
		path := store(t, -time.Minute)
		if err := os.WriteFile(path+".bot-bottle-new-1234", []byte("of one that was killed: a token"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = e.codex(path).Token(t.Context())
		if there, err := os.ReadDir(filepath.Dir(path)); err != nil || len(there) != 2 {
			t.Errorf("status %d: got %v, %v", status, there, err)
		}
	}
}

// A refresh token that was refused is not sent again and again, by every process, each minute, for the
// rest of the access token's life: to the server that is somebody who tries a stolen one. What the operator logs in with
// next is another one.
func TestARefusedRefreshTokenIsSentOnce(t *testing.T) {
	e := newEndpoint(t)
	path := store(t, 14*time.Minute)
	write(t, path, jwt("access-old", time.Now().Add(14*time.Minute-time.Hour), time.Hour), "refresh-spent")
	later := e.codex(path)
	ask := func(c Codex, want string) {
		t.Helper()
		if token, err := c.Token(t.Context()); err != nil || nameOf(token) != want {
			t.Errorf("got %q, %v", nameOf(token), err)
		}
	}
	for range 5 {
		ask(e.codex(path), "access-old")
	}
	if e.misuse != 1 {
		t.Errorf("it was sent %d times", e.misuse)
	}
	later.Now = func() time.Time { return time.Now().Add(15 * time.Minute) }
	if token, err := later.Token(t.Context()); !errors.Is(err, ErrOver) || e.misuse != 1 {
		t.Errorf("got %q, %v, sent %d times", nameOf(token), err, e.misuse)
	}
	later.Now = func() time.Time { return time.Now().Add(2 * time.Hour) } // it may have been a mistake
	if _, err := later.Token(t.Context()); !errors.Is(err, ErrOver) || e.misuse != 2 {
		t.Errorf("got %v, sent %d times", err, e.misuse)
	}
	write(t, path, jwt("access-old", time.Now().Add(14*time.Minute-time.Hour), time.Hour), "refresh-0")
	ask(e.codex(path), "access-1")
}

// What stands between here and the server, a portal or a proxy, does not decide about a login.
func TestOnlyTheServerEndsALogin(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		over   bool
	}{
		"a proxy's page":        {403, "<html>Just a moment...</html>", false},
		"a bad request":         {400, `{"error":"invalid_request"}`, false},
		"refused":               {400, `{"error":"invalid_grant"}`, true},
		"refused, in an object": {400, `{"error":{"code":"invalid_grant"}}`, true},
		"used before":           {401, `{"error":{"code":"refresh_token_reused"}}`, true},
	} {
		e := newEndpoint(t)
		e.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			_, _ = w.Write([]byte(c.body))
		})
		_, err := e.codex(store(t, -time.Minute)).Token(t.Context())
		if err == nil || errors.Is(err, ErrOver) != c.over || !c.over && !strings.Contains(err.Error(), fmt.Sprint("status ", c.status)) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// What a process that was killed had got, and had not yet put in the file's place, is not lost: its
// predecessor is spent. An older one is nobody's any more.
func TestWhatAKilledProcessHadGotIsTaken(t *testing.T) {
	for name, c := range map[string]struct {
		age  time.Duration // of what it had got, against the file
		want string
	}{"later than the file": {time.Minute, "access-got"}, "older than the file": {-time.Minute, "access-1"}} {
		e := newEndpoint(t)
		path := store(t, -time.Minute)
		fresh := path + ".bot-bottle-new-1234"
		write(t, fresh, jwt("access-got", time.Now(), time.Hour), "refresh-got")
		of, err := os.Stat(path)
		if err == nil {
			err = os.Chtimes(fresh, time.Time{}, of.ModTime().Add(c.age))
		}
		if err != nil {
			t.Fatal(err)
		}
		if token, err := e.codex(path).Token(t.Context()); err != nil || nameOf(token) != c.want || e.misuse > 0 {
			t.Errorf("%s: got %q, %v", name, nameOf(token), err)
		}
		if there, err := os.ReadDir(filepath.Dir(path)); err != nil || len(there) != 2 {
			t.Errorf("%s: got %v, %v", name, there, err)
		}
	}
}
