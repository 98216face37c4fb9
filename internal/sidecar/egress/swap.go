package egress

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// authorize turns a request's credentials into ours: every one of the bottle's goes, and
// the route's is put on. An error means that it cannot be; the request must not be sent
// then (ATTACKS C5, C6).
func (s secrets) authorize(r *http.Request, auth *policy.Auth) error {
	return s.replace(r, auth, s.values[auth.Secret].Reveal())
}

// bare is a request's head without what authorize takes off or replaces, and without our
// credential. The error is authorize's.
func (s secrets) bare(r *http.Request, auth *policy.Auth) (*http.Request, error) {
	target := *r.URL
	rest := &http.Request{Method: r.Method, URL: &target, Header: r.Header.Clone()}
	return rest, s.replace(rest, auth, "")
}

// replace puts value in the place of the bottle's credentials, or nothing.
func (s secrets) replace(r *http.Request, auth *policy.Auth, value string) error {
	stripProtocols(r.Header)
	if auth.Scheme != policy.Placeholder {
		strip(r, auth)
		if value != "" {
			inject(r, auth, value)
		}
		return nil
	}
	w := swap{s.placeholders[auth.Secret], value, 0}
	if err := w.request(r); err != nil {
		return err
	}
	if w.count == 0 {
		return &errUnreplaced{fmt.Sprintf("the placeholder of secret %s does not stand in the request's head, where the route's credential goes", auth.Secret)}
	}
	return nil
}

// swap puts a secret in its placeholder's place, wherever in a request's head it stands as
// a credential: by itself, after a scheme, in Basic credentials, as a cookie, as a
// parameter of the query, in the path. What stands beside it is no credential of somebody
// else's: such headers and parameters go, as on every route.
type swap struct {
	placeholder, value string
	count              int
}

func (w *swap) request(r *http.Request) error {
	for name, values := range r.Header {
		if !credentialHeader(name) && !w.within(values) {
			continue
		}
		var kept []string
		for _, value := range values {
			if swapped, ok := w.header(name, value); ok {
				kept = append(kept, swapped)
			}
		}
		if r.Header[name] = kept; len(kept) == 0 {
			delete(r.Header, name)
		}
	}
	r.URL.User = nil
	w.query(r.URL)
	return w.path(r.URL)
}

func (w *swap) within(values []string) bool {
	for _, value := range values {
		if _, ok := (&swap{placeholder: w.placeholder}).header("", value); ok {
			return true
		}
	}
	return false
}

// header returns a header's value with the secret in it; false if it is no credential of
// ours.
func (w *swap) header(name, value string) (string, bool) {
	if strings.EqualFold(name, "Cookie") {
		return w.cookies(value)
	}
	scheme, token, two := strings.Cut(value, " ")
	switch {
	case value == w.placeholder:
		w.count++
		return w.value, true
	case two && token == w.placeholder && !strings.Contains(scheme, w.placeholder):
		w.count++
		return scheme + " " + w.value, true
	case two && strings.EqualFold(scheme, "basic"):
		plain, err := base64.StdEncoding.DecodeString(token)
		user, password, ok := strings.Cut(string(plain), ":")
		if err == nil && ok && password == w.placeholder {
			w.count++
			return scheme + " " + base64.StdEncoding.EncodeToString([]byte(user+":"+w.value)), true
		}
	}
	return "", false
}

func (w *swap) cookies(value string) (string, bool) {
	var kept []string
	for part := range strings.SplitSeq(value, ";") {
		name, content, ok := strings.Cut(strings.TrimSpace(part), "=")
		if ok && content == w.placeholder {
			w.count++
			kept = append(kept, name+"="+w.value)
		}
	}
	return strings.Join(kept, "; "), len(kept) > 0
}

func (w *swap) query(u *url.URL) {
	if u.RawQuery == "" {
		return
	}
	var kept []string
	for part := range strings.SplitSeq(u.RawQuery, "&") {
		name, content, _ := strings.Cut(part, "=")
		switch {
		case content == w.placeholder:
			w.count++
			kept = append(kept, name+"="+url.QueryEscape(w.value))
		case stripQuery(part, "") != "":
			kept = append(kept, part)
		}
	}
	u.RawQuery = strings.Join(kept, "&")
}

func (w *swap) path(u *url.URL) error {
	raw := u.EscapedPath()
	n := strings.Count(raw, w.placeholder)
	if n == 0 {
		return nil
	}
	w.count += n
	raw = strings.ReplaceAll(raw, w.placeholder, url.PathEscape(w.value))
	plain, err := url.PathUnescape(raw)
	if err != nil {
		return &errUnreplaced{"the placeholder of the route's secret stands in a path that cannot be read"}
	}
	u.Path, u.RawPath = plain, raw
	return nil
}
