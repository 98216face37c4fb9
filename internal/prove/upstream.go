package prove

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// maxSeen bounds what is remembered of one body, and of how many requests.
const (
	maxSeenBody = 64 << 10
	maxSeen     = 10_000
)

// ServeHTTP answers below /open. What reaches /closed is remembered like all else.
func (u *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, maxSeenBody))
	u.mu.Lock()
	if len(u.seen) < maxSeen {
		u.seen = append(u.seen, seen{r.Host, r.Method, r.RequestURI, r.Header.Clone(), body})
	}
	u.mu.Unlock()
	switch r.URL.Path {
	case "/open/echo":
		u.echo(w, r)
	case "/open/redirect":
		http.Redirect(w, r, "https://"+refusedHost+"/", http.StatusFound)
	default:
		_, _ = fmt.Fprintln(w, "hello from the upstream")
	}
}

// echo sends back all that came, as servers do that are asked for their headers.
func (u *upstream) echo(w http.ResponseWriter, r *http.Request) {
	text := r.RequestURI + "\n"
	for name, values := range r.Header {
		text += name + ": " + strings.Join(values, ", ") + "\n"
	}
	switch r.URL.Query().Get("as") {
	case "base64":
		text = base64.StdEncoding.EncodeToString([]byte(text))
	case "hex":
		text = hex.EncodeToString([]byte(text))
	}
	_, _ = io.WriteString(w, text)
}

func (u *upstream) requests() []seen {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.seen)
}
