package dlp

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// flusher is a compressor that can give all that it holds.
type flusher interface {
	io.WriteCloser
	Flush() error
}

func compressor(t testing.TB, name string, w io.Writer) flusher {
	t.Helper()
	switch name {
	case "gzip":
		return gzip.NewWriter(w)
	case "zlib", "deflate":
		return zlib.NewWriter(w)
	case "br":
		return brotli.NewWriter(w)
	case "zstd":
		z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		return z
	case "zip":
		archive := zip.NewWriter(w)
		member, err := archive.Create("a file.txt")
		if err != nil {
			t.Fatal(err)
		}
		return zipMember{member, archive}
	}
	t.Fatalf("no compressor %s", name)
	return nil
}

type zipMember struct {
	io.Writer
	archive *zip.Writer
}

func (m zipMember) Flush() error { return m.archive.Flush() }
func (m zipMember) Close() error { return m.archive.Close() }

// compressed is before, the canary and after, and how many bytes it takes to know the canary.
func compressed(t testing.TB, name string, before, after []byte) (data []byte, known int) {
	t.Helper()
	var b bytes.Buffer
	w := compressor(t, name, &b)
	for _, part := range [][]byte{before, []byte(canary), after} {
		if len(part) == len(after) {
			known = b.Len()
		}
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if string(part) == canary {
			known = b.Len()
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), known
}

// written is how much of a body was written when the canary was told; -1 if it never was.
func written(t testing.TB, stream *Stream, r *rand.Rand, body []byte) int {
	t.Helper()
	defer stream.Close()
	for sent := 0; sent < len(body); {
		n := min(1+r.IntN(1+r.IntN(60_000)), len(body)-sent)
		findings, err := stream.Write(context.Background(), body[sent:sent+n])
		if err != nil {
			t.Fatal(err)
		}
		if sent += n; found(findings) {
			return sent
		}
	}
	if err := stream.End(); err != nil {
		t.Error(err)
	}
	return -1
}

// A secret is in an archive that is uploaded inside a body, many windows behind the
// archive's beginning. It is told before the last byte by which it can be known is let go.
func TestCompressedDataOverManyWindows(t *testing.T) {
	s := newScanner(t, Options{})
	r := rand.New(rand.NewPCG(3, 4))
	size := 700_000 / slower
	for _, name := range []string{"gzip", "zlib", "zip", "zstd"} {
		for _, before := range []int{0, 20_000, 300_000 / slower} {
			data, known := compressed(t, name, slices.Concat(randomBytes(size), chat(t, size)), randomBytes(100_000))
			body := slices.Concat(chat(t, before), []byte("\r\n\r\n"), data, []byte("\r\n--boundary--"))
			stream, err := s.NewStream(Input{Kind: Body})
			if err != nil {
				t.Fatal(err)
			}
			at := len(body) - len(data) - len("\r\n--boundary--")
			if told := written(t, stream, r, body); told < 0 || told > at+known+60_000 {
				t.Errorf("%s behind %d bytes: told at %d of %d, it can be known at %d", name, before, told, len(body), at+known)
			}
		}
	}
}

// No byte of what lets a secret be known goes before it is told, however small the writes.
func TestUnpackingTellsInTime(t *testing.T) {
	s := newScanner(t, Options{})
	for _, name := range []string{"gzip", "deflate", "br", "zstd"} {
		data, known := compressed(t, name, chat(t, 3000), randomBytes(3000))
		stream, err := s.NewStream(Input{Kind: Body, ContentEncoding: name})
		if err != nil {
			t.Fatal(err)
		}
		told := -1
		for i := 0; i < len(data) && told < 0; i++ {
			findings, err := stream.Write(context.Background(), data[i:i+1])
			if err != nil {
				t.Fatal(err)
			}
			if found(findings) {
				told = i + 1
			}
		}
		stream.Close()
		if told < 0 || told > known {
			t.Errorf("%s: told at %d, it can be known at %d", name, told, known)
		}
	}
}

func packAll(t testing.TB, data []byte, names ...string) []byte {
	t.Helper()
	for _, name := range names {
		var b bytes.Buffer
		w := compressor(t, name, &b)
		_, _ = w.Write(data)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		data = b.Bytes()
	}
	return data
}

func TestStreamsInContentEncodings(t *testing.T) {
	s := newScanner(t, Options{})
	r := rand.New(rand.NewPCG(5, 6))
	long := slices.Concat(randomBytes(400_000/slower), chat(t, 400_000/slower))
	for _, names := range [][]string{{"gzip"}, {"deflate"}, {"br"}, {"zstd"}, {"gzip", "br"}, {"br", "zstd"}, {"zstd", "gzip"}} {
		for _, text := range []string{"", canary} {
			body := packAll(t, slices.Concat(long, []byte(text), long[:50_000/slower]), names...)
			stream, err := s.NewStream(Input{Kind: Body, ContentEncoding: strings.Join(names, ", ")})
			if err != nil {
				t.Fatal(err)
			}
			if told := written(t, stream, r, body); told >= 0 != (text != "") {
				t.Errorf("%v with %q: told at %d of %d", names, text, told, len(body))
			}
		}
	}
	members := slices.Concat(packAll(t, long, "gzip"), packAll(t, []byte(canary), "gzip"))
	stream, err := s.NewStream(Input{Kind: Body, ContentEncoding: "gzip"})
	if err != nil {
		t.Fatal(err)
	}
	if told := written(t, stream, r, members); told < 0 {
		t.Error("not found in the second member")
	}
}

func TestStreamsRefuseWhatIsNotInTheirEncoding(t *testing.T) {
	s := newScanner(t, Options{Budget: 1 << 20})
	text := chat(t, 20_000)
	for name, c := range map[string]struct {
		coding string
		data   []byte
		want   error
	}{
		"a lie, gzip":       {"gzip", text, ErrEncoding},
		"a lie, br":         {"br", text, ErrEncoding},
		"a lie, zstd":       {"zstd", text, ErrEncoding},
		"a lie, deflate":    {"deflate", text, ErrEncoding},
		"behind gzip":       {"gzip", append(packAll(t, text, "gzip"), "more"...), ErrEncoding},
		"behind br":         {"br", append(packAll(t, text, "br"), "more"...), ErrEncoding},
		"behind zstd":       {"zstd", append(packAll(t, text, "zstd"), "more"...), ErrEncoding},
		"behind deflate":    {"deflate", append(packAll(t, text, "deflate"), "more"...), ErrEncoding},
		"gzip, cut short":   {"gzip", packAll(t, text, "gzip")[:1000], ErrEncoding},
		"br, cut short":     {"br", packAll(t, text, "br")[:1000], ErrEncoding},
		"zstd, cut short":   {"zstd", packAll(t, text, "zstd")[:1000], ErrEncoding},
		"inner, cut short":  {"gzip, br", packAll(t, packAll(t, text, "gzip")[:1000], "br"), ErrEncoding},
		"a bomb":            {"gzip", packAll(t, make([]byte, 20<<20), "gzip"), ErrBudget},
		"a bomb, twice":     {"br, gzip", packAll(t, make([]byte, 20<<20), "br", "gzip"), ErrBudget},
		"a bomb that is in": {"", packAll(t, make([]byte, 20<<20), "gzip"), ErrBudget},
	} {
		stream, err := s.NewStream(Input{Kind: Body, ContentEncoding: c.coding})
		for err == nil && len(c.data) > 0 {
			n := min(len(c.data), 30_000)
			_, err = stream.Write(context.Background(), c.data[:n])
			c.data = c.data[n:]
		}
		if err == nil {
			err = stream.End()
		}
		stream.Close()
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	for _, coding := range []string{"compress", "zip", "zlib", "gzip, gzip, gzip, gzip"} {
		if _, err := s.NewStream(Input{ContentEncoding: coding}); !errors.Is(err, ErrEncoding) {
			t.Errorf("%s: got %v, want %v", coding, err, ErrEncoding)
		}
	}
}

// What the library decodes is decoded alike, in pieces of any size.
func FuzzInflate(f *testing.F) {
	for level := flate.HuffmanOnly; level <= flate.BestCompression; level++ {
		for _, text := range [][]byte{[]byte(strings.Repeat("some text ", 2000) + canary), randomBytes(70_000), make([]byte, 100_000), nil} {
			var b bytes.Buffer
			w, _ := flate.NewWriter(&b, level)
			_, _ = w.Write(text)
			_ = w.Close()
			f.Add(b.Bytes(), uint64(level))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) {
		from := bytes.NewReader(data)
		want, failed := io.ReadAll(io.LimitReader(flate.NewReader(from), 8<<20))
		if len(want) == 8<<20 {
			return
		}
		var z inflater
		var got, rest []byte
		var ended bool
		var err error
		r := rand.New(rand.NewPCG(seed, 1))
		for p := data; len(p) > 0 && !ended && err == nil; {
			n := min(1+r.IntN(1+r.IntN(5000)), len(p))
			rest, ended, err = z.write(p[:n], func(out []byte) error {
				if got = append(got, out...); len(got) > 16<<20 {
					return ErrBudget
				}
				return nil
			})
			p = p[n:]
			rest = append(rest, p...)
		}
		if len(got) < len(want) || !bytes.Equal(got[:len(want)], want) {
			t.Fatalf("got %d bytes, the library %d (%v)", len(got), len(want), failed)
		}
		if failed == nil && (!ended || len(got) != len(want) || len(rest) != from.Len()) {
			t.Errorf("ended %v (%v) with %d bytes, %d left; the library with %d, %d left", ended, err, len(got), len(rest), len(want), from.Len())
		}
	})
}
