package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/sidecar/pipelock/pipelocktest"
)

// What egress adds to a request on a warm connection: compare direct with proxied.
func BenchmarkRequest(b *testing.B) {
	up := newOrigin(b, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, strings.Repeat("answer ", 100))
	})
	l := newLab(b, up.route("api.example", keyAuth()))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(up.ca.CertPEM))
	direct := &http.Client{Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return net.Dial("tcp", up.Listener.Addr().String())
		},
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: true,
	}}
	b.Cleanup(direct.CloseIdleConnections)
	body := strings.Repeat("question ", 1000)
	for name, client := range map[string]*http.Client{"direct": direct, "egress": l.client(b, true)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if response, _ := get(b, client, request(b, "POST", "https://api.example/", strings.NewReader(body))); response.StatusCode != 200 {
					b.Fatal(response.Status)
				}
			}
		})
	}
}

// How fast a large answer passes the masker, and a large upload the scanner.
func BenchmarkTransfer(b *testing.B) {
	const size = 16 << 20
	up := newOrigin(b, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.Copy(w, io.LimitReader(zeros{}, size))
	})
	l := newLab(b, up.route("api.example", keyAuth()))
	client := l.client(b, true)
	for _, method := range []string{"GET", "POST"} {
		b.Run(method, func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				var body io.Reader
				if method == "POST" {
					body = io.LimitReader(zeros{}, size)
				}
				if response, _ := get(b, client, request(b, method, "https://api.example/", body)); response.StatusCode != 200 {
					b.Fatal(response.Status)
				}
			}
		})
	}
}

// zeros is an endless stream of a letter.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'z'
	}
	return len(p), nil
}

// What a look at answers adds to them: alternately from a route whose answers are looked at, and
// from one whose are not, with the stand-in behind.
func BenchmarkWatchedAnswers(b *testing.B) {
	page := strings.Repeat("A line of a page, as they are. ", 1+(100<<10)/31)
	up := newOrigin(b, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, r.URL.RawQuery+page)
	})
	unread := up.route("unread.example", nil)
	unread.Pipelock = &policy.Pipelock{NoAnswers: true}
	p := pipelocktest.Start(b, pipelocktest.StandIn(b), time.Minute)
	l := newLabOf(b, func(c *control.EgressConfig) { withPipelock(p.Dir)(c); c.Pipelock.Answers = true }, func(*Server) {}, up.route("read.example", nil), unread)
	client := l.client(b, false)
	for _, host := range []string{"unread.example", "read.example"} {
		b.Run(host, func(b *testing.B) {
			for b.Loop() {
				if response, _ := get(b, client, request(b, "GET", "https://"+host+"/", nil)); response.StatusCode != 200 {
					b.Fatal(response.Status)
				}
			}
		})
	}
}
