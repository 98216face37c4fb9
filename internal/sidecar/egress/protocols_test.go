package egress

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A gRPC call as clients make it: HTTP/2, messages both ways at the same time, the status in
// the trailers, with and without a body before them.
func TestGRPCStreamsBothWaysWithTrailers(t *testing.T) {
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || r.Header.Get("Te") != "trailers" || r.Header.Get("X-Api-Key") != realKey {
			t.Errorf("got HTTP/%d, te %q, our key %t", r.ProtoMajor, r.Header.Get("Te"), r.Header.Get("X-Api-Key") == realKey)
		}
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		lines := bufio.NewReader(r.Body)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				break
			}
			_, _ = io.WriteString(w, "echo "+line)
			_ = http.NewResponseController(w).Flush()
		}
		w.Header().Set("Grpc-Status", "5")
		w.Header().Set("Grpc-Message", "key "+realKey)
	})
	l := newLab(t, up.route("api.example", keyAuth()))
	reader, writer := io.Pipe()
	r := request(t, "POST", "https://api.example/pkg.Service/Method", reader)
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("Te", "trailers")
	response, err := l.client(t, true).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answers := bufio.NewReader(response.Body)
	for _, message := range []string{"one\n", "two\n", "three\n"} {
		_, _ = io.WriteString(writer, message)
		if got, err := answers.ReadString('\n'); err != nil || got != "echo "+message {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	_ = writer.Close()
	if rest, err := io.ReadAll(answers); err != nil || len(rest) > 0 {
		t.Errorf("got %q, %v", rest, err)
	}
	if status, message := response.Trailer.Get("Grpc-Status"), response.Trailer.Get("Grpc-Message"); status != "5" || strings.Contains(message, realKey) || !strings.HasPrefix(message, "key *") {
		t.Errorf("got trailers %q, %q", status, message)
	}
}

// A client that waits for leave before it sends much: the upstream's no arrives without the
// body having been sent, its yes lets it through.
func TestExpectContinue(t *testing.T) {
	var read atomic.Int64
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		n, _ := io.Copy(io.Discard, r.Body)
		read.Add(n)
	})
	l := newLab(t, up.route("api.example", nil))
	for path, want := range map[string]string{"/no": "HTTP/1.1 413", "/yes": "HTTP/1.1 100"} {
		conn := l.secure(t, "api.example", 443)
		_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: api.example\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", path)
		answers := bufio.NewReader(conn)
		if got, err := answers.ReadString('\n'); err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, %v", path, got, err)
		}
		if path == "/no" {
			continue
		}
		_, _ = answers.ReadString('\n')
		_, _ = io.WriteString(conn, "hello")
		response, err := http.ReadResponse(answers, nil)
		if err != nil || response.StatusCode != 200 {
			t.Errorf("got %v, %v", response, err)
		}
	}
	if n := read.Load(); n != 5 {
		t.Errorf("the upstream read %d bytes", n)
	}
}

// Every server-sent event is handed on when it comes, not when the next one does.
func TestEventsAreFlushedOneByOne(t *testing.T) {
	next := make(chan struct{})
	up := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 20 {
			_, _ = fmt.Fprintf(w, "data: %d sk-a\n\n", i) // ends like the beginning of a secret
			_ = http.NewResponseController(w).Flush()
			<-next
		}
	})
	l := newLab(t, up.route("api.example", keyAuth()))
	for _, h2 := range []bool{false, true} {
		response, err := l.client(t, h2).Get("https://api.example/")
		if err != nil {
			t.Fatal(err)
		}
		events := bufio.NewReader(response.Body)
		for i := range 20 {
			if got, err := events.ReadString('\n'); err != nil || got != fmt.Sprintf("data: %d sk-a\n", i) {
				t.Fatalf("got %q, %v", got, err)
			}
			_, _ = events.ReadString('\n')
			select {
			case next <- struct{}{}:
			case <-time.After(20 * time.Second):
				t.Fatal("the upstream is not there")
			}
		}
		_ = response.Body.Close()
	}
}
