package dlp

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// chat is a request as a coding agent sends it: source text and talk in JSON strings.
func chat(tb testing.TB, size int) []byte {
	tb.Helper()
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	var messages []message
	total := 0
	files, _ := filepath.Glob(filepath.Join(runtime.GOROOT(), "src/net/http/*.go"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		text = text[:min(len(text), 6000)]
		messages = append(messages, message{"user", string(text)})
		if total += len(text); total > size {
			break
		}
	}
	data, err := json.Marshal(map[string]any{"model": "m", "messages": messages})
	if err != nil {
		tb.Fatal(err)
	}
	return data[:min(size, len(data))]
}

func randomBytes(n int) []byte {
	r := rand.New(rand.NewPCG(3, 4))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func benchmark(b *testing.B, data []byte, o Options) {
	b.Helper()
	s := benchScanner(b, o)
	in := Input{Host: "api.example.com", Kind: Body, ContentType: "application/json", Data: data}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	before := cpuTime()
	for b.Loop() {
		findings, err := s.Scan(context.Background(), in)
		if err != nil || len(findings) > 0 {
			b.Fatal(findings, err)
		}
	}
	b.ReportMetric(float64(cpuTime()-before)/float64(b.N)/float64(len(data)), "cpu-ns/byte")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(data)), "ns/byte")
}

func benchScanner(b *testing.B, o Options) *Scanner {
	b.Helper()
	r := rand.New(rand.NewPCG(5, 6))
	for i := range 10 {
		o.Known = append(o.Known, Value{Name: fmt.Sprint("known", i), Secret: fmt.Appendf(nil, "tok_%x%x", r.Uint64(), r.Uint64())})
	}
	return newScanner(b, o)
}

func BenchmarkJSON1K(b *testing.B)   { benchmark(b, chat(b, 1000), noCache) }
func BenchmarkJSON100K(b *testing.B) { benchmark(b, chat(b, 100_000), noCache) }
func BenchmarkBase64(b *testing.B) {
	benchmark(b, []byte(base64.StdEncoding.EncodeToString(randomBytes(750_000))), noCache)
}
func BenchmarkBase64Text(b *testing.B) {
	benchmark(b, []byte(base64.StdEncoding.EncodeToString(chat(b, 75_000))), noCache)
}
func BenchmarkRandom(b *testing.B) { benchmark(b, randomBytes(1_000_000), noCache) }
func BenchmarkOneLetter(b *testing.B) {
	data := make([]byte, 1_000_000)
	for i := range data {
		data[i] = 'a'
	}
	benchmark(b, data, noCache)
}

var noCache = Options{CacheSize: -1}

// BenchmarkCacheHit is the same body once more, BenchmarkHistory one with a new message.
func BenchmarkCacheHit(b *testing.B) { benchmark(b, chat(b, 100_000), Options{}) }

// cpuTime is this process's own, in nanoseconds: others may keep the machine busy.
func cpuTime() int64 {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return usage.Utime.Nano() + usage.Stime.Nano()
}
