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

// requestHead is one as a client with cookies sends it, in the order that egress puts it.
const requestHead = `POST /v1/messages?beta=true HTTP/1.1
Accept: application/json
Accept-Encoding: gzip, deflate, br, zstd
Accept-Language: en-US,en;q=0.9,de;q=0.8
Content-Length: 81234
Content-Type: application/json; charset=utf-8
Cookie: theme=dark; visits=12; last=2026-01-05T10:20:30Z
Origin: https://app.example.com
Referer: https://app.example.com/projects/12345/issues?sort=created&order=desc
Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
User-Agent: agent-cli/1.0.83 (external, cli) Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36
X-App: cli
X-Client-Arch: x64
X-Client-Helper-Method: stream
X-Client-Lang: js
X-Client-Os: Linux
X-Client-Package-Version: 0.55.1
X-Client-Retry-Count: 0
X-Client-Runtime: node
X-Client-Runtime-Version: v22.17.0
X-Client-Timeout: 600
X-Request-Id: 123e4567-e89b-12d3-a456-426614174000
`

func BenchmarkHead(b *testing.B) { benchmark(b, []byte(requestHead), noCache) }

// BenchmarkHeadEscaped is a head with what browsers put into cookies and links.
func BenchmarkHeadEscaped(b *testing.B) {
	benchmark(b, []byte(requestHead+`X-Session: s%3A8Kd2.x%2Bz%2F; consent="a=1&b=2"; _ga=GA1.2.1234567890.1699999999
X-Link: https://example.com/a/b/c?x=1&y=%2Ffoo%2Fbar
`), noCache)
}

// BenchmarkNew is what a change of a bottle's secrets costs.
func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		benchScanner(b, noCache)
	}
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

// BenchmarkSmallWrites is a connection on which 100 bytes are sent at a time.
func BenchmarkSmallWrites(b *testing.B) {
	s := benchScanner(b, noCache)
	data := chat(b, 50_000)
	b.SetBytes(int64(len(data)))
	before := cpuTime()
	for b.Loop() {
		stream, err := s.NewStream(Input{Kind: Body})
		if err != nil {
			b.Fatal(err)
		}
		for sent := 0; sent < len(data); sent += 100 {
			if _, err := stream.Write(context.Background(), data[sent:min(sent+100, len(data))]); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(cpuTime()-before)/float64(b.N)/float64(len(data)/100), "cpu-ns/write")
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
