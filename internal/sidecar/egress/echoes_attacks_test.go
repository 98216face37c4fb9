package egress

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// newKey takes realKey's place while a bottle runs.
const newKey = "sk-ant-api03-NEWnewNEWnewNEWnewNEWnew"

func replaced() []control.Secret {
	return []control.Secret{{Name: "KEY", Value: newKey, Placeholder: placeholder}}
}

// Attack C3: an upstream puts our credential into the words of the status by which it agrees to
// an upgrade: the only ones that are handed on as they came.
func TestAttackC3_TheWordsOfAStatus(t *testing.T) {
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Welcome "+r.Header.Get("X-Api-Key")+"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		_ = conn.Close()
	})
	l := newLab(t, up.route("api.example", keyAuth()))
	conn := l.secure(t, "api.example", 443)
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: api.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	got, _ := io.ReadAll(conn)
	if !strings.HasPrefix(string(got), "HTTP/1.1 101 Switching Protocols\r\n") || strings.Contains(string(got), realKey) {
		t.Errorf("got %q", got)
	}
}

// Attack C3: what an upstream was told by a route that the operator has taken back, it answers
// on another one, to the same host, that has no credential.
func TestAttackC3_AHostThatWasTold(t *testing.T) {
	var kept string
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if key := r.Header.Get("X-Api-Key"); key != "" {
			kept = key
		}
		_, _ = io.WriteString(w, "kept: "+kept)
	})
	with := up.route("api.example", keyAuth())
	with.Paths = []string{"/save"}
	without := up.route("api.example", nil)
	l := newLab(t, with, without)
	get(t, l.client(t, false), request(t, "GET", "https://api.example/save", nil))
	for name, secrets := range map[string][]control.Secret{"the secret stays": testSecrets(), "the secret goes as well": nil} {
		l.apply(t, secrets, without)
		if _, body := get(t, l.client(t, false), request(t, "GET", "https://api.example/load", nil)); kept != realKey || strings.Contains(body, realKey) {
			t.Errorf("%s: got %s", name, body)
		}
	}
}

// Attack C3: an answer, or a WebSocket, was open before the operator's credential was put in
// force, or in the place of another: the upstream sends that one back on it.
func TestAttackC3_AnAnswerThatWasOpenBefore(t *testing.T) {
	for name, from := range map[string]*policy.Auth{"another value": keyAuth(), "none": nil, "placed by the bottle": {Scheme: policy.Placeholder, Secret: "KEY"}} {
		t.Run(name, func(t *testing.T) {
			keys := make(chan string, 1)
			up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/socket":
					conn, err := websocket.Accept(w, r, nil)
					if err != nil {
						t.Error(err)
						return
					}
					defer func() { _ = conn.CloseNow() }()
					_ = conn.Write(r.Context(), websocket.MessageText, []byte("open"))
					_ = conn.Write(r.Context(), websocket.MessageText, []byte("it is "+<-keys))
				case "/stream":
					_, _ = io.WriteString(w, "open\n")
					_ = http.NewResponseController(w).Flush()
					_, _ = io.WriteString(w, "it is "+<-keys+"\n")
				default:
					keys <- r.Header.Get("X-Api-Key")
				}
			})
			open := up.route("api.example", from)
			key := up.route("api.example", keyAuth())
			key.Paths = []string{"/key"}
			l := newLab(t, open)
			if from == nil {
				l = newLabOf(t, func(cfg *control.EgressConfig) { cfg.Secrets = nil }, func(*Server) {}, open)
			}
			ask := func(path string) *http.Request {
				r := request(t, "GET", "https://api.example"+path, nil)
				if from != nil && from.Scheme == policy.Placeholder {
					r.Header.Set("X-Key", placeholder)
				}
				return r
			}
			response, err := l.client(t, false).Do(ask("/stream"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = response.Body.Close() }()
			lines := bufio.NewReader(response.Body)
			if first, err := lines.ReadString('\n'); err != nil {
				t.Fatal(first, err)
			}
			conn := l.webSocketFor(t, "wss://api.example/socket", ask("/socket").Header)
			if _, first, err := conn.Read(t.Context()); err != nil {
				t.Fatal(string(first), err)
			}
			l.apply(t, replaced(), key, open)
			for range 2 {
				get(t, l.client(t, false), request(t, "GET", "https://api.example/key", nil))
			}
			streamed, streamErr := io.ReadAll(lines)
			_, message, socketErr := conn.Read(t.Context())
			for what, got := range map[string]string{"answer": string(streamed), "WebSocket": string(message)} {
				if strings.Contains(got, newKey) {
					t.Errorf("the %s says %q", what, got)
				}
			}
			if cut := from == nil; (streamErr != nil) != cut || (socketErr != nil) != cut {
				t.Errorf("they ended with %v and %v, and are to go on: %v", streamErr, socketErr, !cut)
			}
		})
	}
}
