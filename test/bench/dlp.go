package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/dlp"
	"github.com/bot-bottle/bot-bottle/test/lab"
)

// head is a request's, of some 900 bytes, as egress gives it to the scanner.
const head = `POST /v1/messages?beta=true HTTP/1.1
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

// measureDLP searches what holds no secret, with ten known values, in one goroutine.
func measureDLP(ctx context.Context, _ *lab.Lab) ([]figure, error) {
	talk, err := conversation(100_000)
	if err != nil {
		return nil, err
	}
	noise := make([]byte, 750_000)
	random := rand.NewChaCha8([32]byte{2})
	_, _ = random.Read(noise)
	options := dlp.Options{CacheSize: -1}
	for i := range 10 {
		options.Known = append(options.Known, dlp.Value{Name: fmt.Sprint("known", i), Secret: fmt.Appendf(nil, "tok_%x%x", random.Uint64(), random.Uint64())})
	}
	scanner, err := dlp.New(options)
	if err != nil {
		return nil, err
	}
	options.CacheSize = 0
	caching, err := dlp.New(options)
	if err != nil {
		return nil, err
	}
	body := func(s *dlp.Scanner, data []byte) (time.Duration, error) {
		return scanTime(ctx, s, dlp.Input{Kind: dlp.Body, Host: "api.example.com", Data: data})
	}
	perByte := func(name string, data []byte, aim float64) (figure, error) {
		took, err := body(scanner, data)
		return atMost(name, float64(took.Nanoseconds())/float64(len(data)), "ns/byte", aim), err
	}
	plain, err := perByte("dlp.json", talk, 20)
	if err != nil {
		return nil, err
	}
	encoded, err := perByte("dlp.base64", []byte(base64.StdEncoding.EncodeToString(noise)), 20)
	if err != nil {
		return nil, err
	}
	binary, err := perByte("dlp.random", noise, 30)
	if err != nil {
		return nil, err
	}
	cached, err := body(caching, talk)
	if err != nil {
		return nil, err
	}
	headed, err := scanTime(ctx, scanner, dlp.Input{Kind: dlp.Header, Host: "api.example.com", Data: []byte(head)})
	if err != nil {
		return nil, err
	}
	written, err := writeTime(ctx, scanner, talk)
	if err != nil {
		return nil, err
	}
	made, err := medianTime(func() error { _, err := dlp.New(options); return err })
	return []figure{
		plain, encoded, binary,
		atMost("dlp.cache_hit", micro(cached)/float64(len(talk))*1000, "µs/KB", 2),
		atMost("dlp.head", micro(headed), "µs", 30),
		report("dlp.write", micro(written), "µs"),
		report("dlp.new", micro(made), "µs"),
	}, err
}

func micro(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

func scanTime(ctx context.Context, s *dlp.Scanner, in dlp.Input) (time.Duration, error) {
	return medianTime(func() error {
		findings, err := s.Scan(ctx, in)
		if len(findings) > 0 {
			return fmt.Errorf("found what is not there: %v", findings)
		}
		return err
	})
}

// writeTime is for one write of 100 bytes to a stream.
func writeTime(ctx context.Context, s *dlp.Scanner, data []byte) (time.Duration, error) {
	const size = 100
	all, err := medianTime(func() error {
		stream, err := s.NewStream(dlp.Input{Kind: dlp.Body, Host: "api.example.com"})
		for sent := 0; err == nil && sent+size <= len(data); sent += size {
			_, err = stream.Write(ctx, data[sent:sent+size])
		}
		return err
	})
	return all / time.Duration(len(data)/size), err
}

// medianTime is of fifty runs, after one.
func medianTime(run func() error) (time.Duration, error) {
	if err := run(); err != nil {
		return 0, err
	}
	var times []time.Duration
	for range 50 {
		start := time.Now()
		if err := run(); err != nil {
			return 0, err
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}

// conversation is a request as a coding agent sends it, with our own sources in it.
func conversation(size int) ([]byte, error) {
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	var messages []message
	files, err := filepath.Glob("internal/*/*.go")
	if err != nil {
		return nil, err
	}
	files = slices.DeleteFunc(files, func(file string) bool { return strings.HasSuffix(file, "_test.go") }) // they have tokens
	for total := 0; len(files) > 0 && total < size; files = files[1:] {
		text, err := os.ReadFile(files[0])
		if err != nil {
			return nil, err
		}
		messages = append(messages, message{"user", string(text)})
		total += len(text)
	}
	data, err := json.Marshal(map[string]any{"model": "m", "messages": messages})
	if err != nil {
		return nil, err
	}
	if len(data) < size {
		return nil, fmt.Errorf("the sources give %d bytes, not %d: run it where they are", len(data), size)
	}
	return data[:size], nil
}
