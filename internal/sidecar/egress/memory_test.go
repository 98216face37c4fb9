//go:build !race

package egress

// What is measured here is memory: the race detector multiplies it, and the time that
// large bodies take. make test runs these by themselves.

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"net/http"
	"runtime"
	"testing"
	"time"
)

// Uploads and downloads of any size pass whole, in constant memory.
func TestBodiesOfAnySizeInConstantMemory(t *testing.T) {
	const size = 40 << 20
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		_, _ = io.Copy(sum, r.Body)
		w.Header().Set("X-Sum", fmt.Sprintf("%x", sum.Sum(nil)))
		_, _ = io.Copy(w, io.LimitReader(&pattern{}, size))
	})
	l := newLab(t, up.route("api.example", keyAuth()))
	for _, h2 := range []bool{false, true} {
		sent, came := sha256.New(), sha256.New()
		var high high
		r := request(t, "POST", "https://api.example/", io.TeeReader(io.LimitReader(&pattern{}, size), io.MultiWriter(sent, &high)))
		response, err := l.client(t, h2).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.MultiWriter(came, &high), response.Body); err != nil || n != size {
			t.Errorf("got %d bytes, %v", n, err)
		}
		_ = response.Body.Close()
		if response.Header.Get("X-Sum") != sum(sent) || sum(came) != sum(sent) {
			t.Error("what arrived is not what was sent")
		}
		if high.growth() > 30<<20 {
			t.Errorf("HTTP/2 %t: the heap grew by %d MiB", h2, high.growth()>>20)
		}
	}
}

func sum(h hash.Hash) string { return fmt.Sprintf("%x", h.Sum(nil)) }

// pattern is an endless file without repetitions that compress.
type pattern struct{ n uint64 }

func (p *pattern) Read(b []byte) (int, error) {
	for i := range b {
		p.n = p.n*6364136223846793005 + 1442695040888963407
		b[i] = byte(p.n >> 56)
	}
	return len(b), nil
}

// high watches the live heap every few megabytes.
type high struct {
	seen        int
	first, most uint64
}

func (h *high) Write(p []byte) (int, error) {
	if h.seen += len(p); h.seen > 8<<20 || h.first == 0 {
		h.seen = 0
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if h.first == 0 {
			h.first = m.HeapAlloc
		}
		h.most = max(h.most, m.HeapAlloc)
	}
	return len(p), nil
}

func (h *high) growth() uint64 { return h.most - h.first }

// Attack J4: a bottle asks for long answers, many at a time, and reads none of them; what the
// upstream sends meanwhile fills egress's memory until it is killed.
func TestAttackJ4_UnreadAnswersInConstantMemory(t *testing.T) {
	const answers, most = 24, 1 << 30
	sent := make(chan int, answers)
	up := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
		n := 0
		defer func() { sent <- n }()
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(3 * time.Second)) // ends who is stuck
		for part := make([]byte, 32<<10); n < most/answers; n += len(part) {
			if _, err := w.Write(part); err != nil {
				return
			}
		}
	})
	l := newLab(t, up.route("api.example", nil))
	for range answers {
		conn := l.secure(t, "api.example", 443)
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: api.example\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	total := 0
	for range answers {
		total += <-sent
	}
	// Of this up to about a megabyte each is in the kernel, and not egress's.
	if total > 40<<20 {
		t.Errorf("%d MiB were taken of answers that nobody reads", total>>20)
	}
	t.Logf("%d KiB of each", total/answers>>10)
}
