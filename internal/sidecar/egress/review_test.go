package egress

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// Attack C3: the upstream's echo comes where an answer is not looked into: in an
// interim answer, in the name of a header, in UTF-16, in two ranges that hold half of it each.
func TestAttackC3_NoWayAroundTheMask(t *testing.T) {
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/interim":
			w.Header().Set("Link", "<"+r.Header.Get("X-Api-Key")+">")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Del("Link")
		case "/name":
			w.Header().Set("X-"+r.Header.Get("X-Api-Key"), "1")
		case "/wide":
			w.Header().Set("Content-Type", "text/html; charset=utf-16")
			for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
				var wide []byte
				for _, unit := range utf16.Encode([]rune(r.Header.Get("X-Api-Key"))) {
					wide = order.AppendUint16(wide, unit)
				}
				_, _ = w.Write(wide)
			}
		case "/range":
			for _, name := range []string{"Request-Range", "X-Ms-Range"} { // as Apache reads the one, and a store the other
				if part := r.Header.Get(name); part != "" {
					r.Header.Set("Range", part)
				}
			}
			http.ServeContent(w, r, "echo", time.Time{}, bytes.NewReader([]byte(r.Header.Get("X-Api-Key"))))
		}
	})
	l := newLab(t, up.route("api.example", keyAuth()))
	for _, h2 := range []bool{false, true} {
		var seen strings.Builder
		for _, path := range []string{"/interim", "/name", "/wide", "/range"} {
			r := request(t, "GET", "https://api.example"+path, nil)
			if path == "/range" {
				for _, name := range []string{"Range", "Request-Range", "X-Ms-Range"} {
					r.Header.Set(name, "bytes=0-9")
				}
			}
			trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
				t.Errorf("an interim answer came through: %d %v", code, header)
				return nil
			}}
			response, err := l.client(t, h2).Do(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(response.Body)
			_ = response.Body.Close()
			_ = response.Header.Write(&seen)
			seen.Write(bytes.ReplaceAll(body, []byte{0}, nil))
			if path == "/range" && response.StatusCode != http.StatusOK {
				t.Errorf("a range was answered: %s", response.Status)
			}
		}
		if all := strings.ToLower(seen.String()); strings.Contains(all, strings.ToLower(realKey[:10])) {
			t.Errorf("the key came back: %s", all)
		}
	}
}

// Attack C1: a key of the agent's own in headers that are not on any list, but that a
// server may read as one that is.
func TestAttackC1_UnknownCredentialHeaders(t *testing.T) {
	arrived := make(chan http.Header, 1)
	up := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) { arrived <- r.Header.Clone(); <-time.After(0) })
	l := newLab(t, up.route("api.example", keyAuth()))
	r := request(t, "GET", "https://api.example/?a=1;api_key=evil&b=2", nil)
	for _, name := range []string{"X_Api_Key", "Anthropic-Api-Key", "X-Corp-Token", "Client-Secret", "x-ACCESS_key"} {
		r.Header[name] = []string{"evil"}
	}
	r.Header.Set("Idempotency-Key", "kept")
	if response, err := l.client(t, false).Do(r); err != nil {
		t.Fatal(err)
	} else {
		_ = response.Body.Close()
	}
	got := <-arrived
	for name, values := range got {
		if strings.Contains(strings.Join(values, " "), "evil") {
			t.Errorf("%s arrived", name)
		}
	}
	if got.Get("Idempotency-Key") != "kept" {
		t.Error("a header that is no credential was dropped")
	}
}

// Attack J4, H5: refusals by the hundred thousand, to fill the log or to end the
// bottle's traffic by that. The first are listed, the rest are counted.
func TestAttackJ4_AFloodOfRefusalsIsCounted(t *testing.T) {
	b := newBudget()
	now := time.Now()
	listed := 0
	for range 100_000 {
		if _, ok := b.take(now); ok {
			listed++
		}
	}
	if listed != burstOfDenials {
		t.Errorf("%d were listed", listed)
	}
	if unlisted, ok := b.take(now.Add(time.Second)); !ok || unlisted != 100_000-burstOfDenials {
		t.Errorf("got %d, %v", unlisted, ok)
	}
	up := newOrigin(t, func(http.ResponseWriter, *http.Request) {})
	l := newLabWith(t, func(s *Server) { s.denials.left, s.denials.unlisted = 1, 41 }, up.route("api.example", nil))
	response, err := l.client(t, false).Do(request(t, "GET", "https://api.example/ok", nil))
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if _, status := l.connect(t, "evil.example:443"); status != http.StatusForbidden {
		t.Errorf("got %d", status)
	}
	l.awaitEvent(t, "a refusal that tells of others", func(e audit.Event) bool {
		return e.Decision == audit.Deny && strings.Contains(e.Reason, "and 41 refusals before it")
	})
}

// Invariant 3: a request is on record before its first byte reaches the upstream, so a
// bottle that gets egress killed on the way hides nothing by it.
func TestAttackH5_ARequestIsOnRecordBeforeItLeaves(t *testing.T) {
	var log func() []audit.Event
	recorded := make(chan string, 1)
	up := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) {
		before := "nothing"
		for _, e := range log() {
			if e.Method == r.Method && e.Path == r.URL.Path && e.Phase != "" {
				before = e.Phase
			}
		}
		recorded <- before
		_, _ = io.Copy(io.Discard, r.Body)
	})
	l := newLab(t, up.route("api.example", keyAuth()))
	log = func() []audit.Event { return l.eventsOf(t) }
	for _, c := range []struct{ method, body, want string }{{"POST", "data", audit.Open}, {"GET", "", audit.Ahead}, {"DELETE", "", audit.Ahead}} {
		response, err := l.client(t, false).Do(request(t, c.method, "https://api.example/"+c.method, strings.NewReader(c.body)))
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if got := <-recorded; got != c.want {
			t.Errorf("%s: when the upstream had it, %s was on record", c.method, got)
		}
		end := l.awaitEvent(t, c.method, func(e audit.Event) bool { return e.Method == c.method })
		if n := len(slices.DeleteFunc(l.eventsOf(t), func(e audit.Event) bool { return !e.Time.Equal(end.Time) })); n != 2 {
			t.Errorf("%s: %d events of its time", c.method, n)
		}
	}
}

// A route says what the log tells of its paths; a secret stays out of it in any case, and
// what no route decided is redacted.
func TestLogPath(t *testing.T) {
	up := newOrigin(t, func(http.ResponseWriter, *http.Request) {})
	long := "/people/alice@corp.example/9f86d081884c7d659a2feaa0c55ad015"
	for how, want := range map[policy.LogPath]string{"": "/people/…(18)/…(32)", policy.LogRedacted: "/people/…(18)/…(32)", policy.LogFull: long, policy.LogNone: ""} {
		route := up.route("api.example", nil)
		route.LogPath, route.Methods = how, []string{"GET"}
		l := newLab(t, route)
		_, _ = get(t, l.client(t, false), request(t, "GET", "https://api.example"+long, nil))
		_, _ = get(t, l.client(t, false), request(t, "DELETE", "https://api.example"+long, nil))
		_, _ = get(t, l.client(t, false), request(t, "GET", "https://api.example/"+realKey, nil))
		if e := l.awaitEvent(t, "GET", func(e audit.Event) bool { return e.Method == "GET" && e.Status == 200 }); e.Path != want {
			t.Errorf("%q: got %q", how, e.Path)
		}
		if e := l.awaitEvent(t, "DELETE", func(e audit.Event) bool { return e.Method == "DELETE" }); e.Path != "/people/…(18)/…(32)" {
			t.Errorf("%q, refused: got %q", how, e.Path)
		}
		if strings.Contains(l.events.String(), realKey) {
			t.Errorf("%q: the key is in the log", how)
		}
	}
}
