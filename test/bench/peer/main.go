// Command peer is what egress is measured with: the upstream, or a bare reverse proxy in
// front of it. It prints its address and serves until its standard input ends.
// Usage: peer origin CA-CERT CA-KEY, or peer reverse CA-CERT CA-KEY UPSTREAM.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/pki"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 3 {
		return errors.New("usage: peer origin|reverse CA-CERT CA-KEY [UPSTREAM]")
	}
	cert, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	key, err := os.ReadFile(args[2])
	if err != nil {
		return err
	}
	issuer, err := pki.NewIssuer(string(cert), string(key), time.Now)
	if err != nil {
		return err
	}
	handler := origin()
	if args[0] == "reverse" {
		handler = reverse(cert, args[3])
	}
	return serve(issuer, handler)
}

func serve(issuer *pki.Issuer, h http.Handler) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return issuer.Certificate(hello.ServerName)
		}},
	}
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(ln, "", "") }()
	fmt.Println(ln.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = server.Close()
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// reverse is httputil.ReverseProxy as it comes, but for the upstream's address and CA.
func reverse(ca []byte, upstream string) http.Handler {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &httputil.ReverseProxy{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", upstream)
			},
			TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true, DisableCompression: true, MaxIdleConnsPerHost: 16,
		},
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "https", Host: r.In.Host}) },
	}
}

// origin answers shortly, at length, with events, and takes what it is sent.
func origin() http.Handler {
	answer := bytes.Repeat([]byte("an answer of one KiB; "), 47)[:1<<10]
	mux := http.NewServeMux()
	mux.HandleFunc("/short", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(answer)
	})
	mux.HandleFunc("POST /up", func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintln(w, n)
	})
	mux.HandleFunc("GET /down", down)
	mux.HandleFunc("POST /v1/messages", events)
	return mux
}

// down answers with n bytes.
func down(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.FormValue("n"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(n))
	block := bytes.Repeat([]byte("0123456789abcde\n"), 2<<10)
	for n > 0 {
		written, err := w.Write(block[:min(n, len(block))])
		if err != nil {
			return
		}
		n -= written
	}
}

// events answers as a language model does, an event every other millisecond.
func events(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "text/event-stream")
	beat := time.NewTicker(2 * time.Millisecond)
	defer beat.Stop()
	for i := range 5 {
		_, _ = fmt.Fprintf(w, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"word %d\"}}\n\n", i)
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		<-beat.C
	}
}
