package egress

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// Bounds of a request's body in a content coding, which is read whole before any of it
// goes out: what a decoder has not yet given cannot be searched.
const (
	maxCoded   = 8 << 20
	maxDecoded = 64 << 20
)

// errCoded says that a body in a coding cannot be looked into.
type errCoded struct{ reason string }

func (e *errCoded) Error() string { return e.reason }

// codings lists what a body is coded in, in the order in which it was done.
func codings(h http.Header) []string {
	var all []string
	for _, coding := range strings.Split(strings.Join(h.Values("Content-Encoding"), ","), ",") {
		if coding = strings.ToLower(strings.TrimSpace(coding)); coding != "" && coding != "identity" {
			all = append(all, coding)
		}
	}
	return all
}

// checkCoded searches a body in a coding for what must not go out, and puts it back. What
// it takes of memory is free again after done.
func (s *Server) checkCoded(r *http.Request, watched []needle) (done func(), err error) {
	all := codings(r.Header)
	if len(all) == 0 || r.Body == nil || r.Body == http.NoBody {
		return func() {}, nil
	}
	done, err = s.slot(r.Context())
	if err != nil {
		return done, err
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, maxCoded+1))
	if err != nil {
		return done, err
	}
	if len(data) > maxCoded {
		return done, &errCoded{fmt.Sprintf("a body in a content coding may have %d MiB, since it is searched whole", maxCoded>>20)}
	}
	if err := searchCoded(data, all, watched); err != nil {
		return done, err
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{&spent{bytes.NewReader(data), done}, r.Body}
	return done, nil
}

// searchCoded undoes the codings, the last one first, and searches what was in them.
func searchCoded(data []byte, all []string, watched []needle) error {
	var plain io.Reader = bytes.NewReader(data)
	if len(all) > 2 {
		return &errCoded{"the body is in too many content codings"}
	}
	for i := len(all) - 1; i >= 0; i-- {
		decoder, err := decoder(all[i], plain)
		if err != nil {
			return err
		}
		defer func() { _ = decoder.Close() }()
		plain = decoder
	}
	n, err := io.Copy(io.Discard, refuseLeaks(io.NopCloser(io.LimitReader(plain, maxDecoded+1)), watched))
	switch {
	case errors.As(err, new(*leak)):
		return err
	case err != nil:
		return &errCoded{"the body is not in the content coding that it names"}
	case n > maxDecoded:
		return &errCoded{fmt.Sprintf("the body has more than %d MiB once decoded", maxDecoded>>20)}
	}
	return nil
}

func decoder(coding string, from io.Reader) (io.ReadCloser, error) {
	switch coding {
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(from)
		if err != nil {
			return nil, &errCoded{"the body is not in the content coding that it names"}
		}
		return z, nil
	case "deflate":
		z, err := zlib.NewReader(from)
		if err != nil {
			return nil, &errCoded{"the body is not in the content coding that it names"}
		}
		return z, nil
	case "br":
		return io.NopCloser(brotli.NewReader(from)), nil
	case "zstd":
		z, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxDecoded), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return nil, &errCoded{fmt.Sprintf("a body in the content coding %q cannot be looked into", coding)}
}

// slot waits for leave to hold a body in memory.
func (s *Server) slot(ctx context.Context) (done func(), err error) {
	select {
	case s.bodies <- struct{}{}:
		return sync.OnceFunc(func() { <-s.bodies }), nil
	case <-ctx.Done():
		return func() {}, ctx.Err()
	}
}
