package egress

import (
	"bufio"
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
	"golang.org/x/sync/semaphore"
)

// Bounds of a request's body in a content coding that is searched whole, so that something
// can be taken out. A longer one is searched as it goes out.
const (
	maxCoded   = 8 << 20
	maxDecoded = 64 << 20
	maxCodings = 2
)

// What decoders hold of bodies that are searched as they go out. It is none of maxHeld: they go as
// slowly as they like.
const (
	unpacking   = 16 << 20 // of one
	maxUnpacked = 32 << 20 // of all of them
)

// notCoded refuses a body in a coding that cannot be looked into.
func notCoded(format string, args ...any) error {
	return &errUnsearched{fmt.Sprintf(format, args...), http.StatusUnsupportedMediaType}
}

// codings lists what a body is coded in, in the order in which it was done.
func codings(h http.Header) []string {
	values := h["Content-Encoding"]
	if len(values) == 0 {
		return nil
	}
	var all []string
	for coding := range strings.SplitSeq(strings.Join(values, ","), ",") {
		if coding = strings.ToLower(strings.TrimSpace(coding)); coding != "" && coding != "identity" {
			all = append(all, coding)
		}
	}
	return all
}

// searchCoded searches a body in codings, as it is and decoded: a decoder leaves out names
// and comments in a head, and whole frames. It goes out as it came, or decoded if something
// was taken out.
func (s *Server) searchCoded(r *http.Request, x *exchange, a ahead) error {
	decoder, err := undo(a.data, codings(r.Header), maxDecoded)
	if err != nil {
		return err
	}
	defer func() { _ = decoder.Close() }()
	plain, err := io.ReadAll(io.LimitReader(decoder, maxWhole+1))
	if err != nil {
		return notCoded("the body is not in the content coding that it names")
	}
	data := a.data
	x.plain = plain
	if x.unseen = len(plain) > maxWhole; x.unseen {
		err = x.search.through(r.Context(), r.Header, io.MultiReader(bytes.NewReader(plain), decoder))
	} else if clean, bad := x.search.whole(r.Context(), r.Header, plain); bad != nil {
		err = bad
	} else if !bytes.Equal(clean, plain) {
		data, x.plain, err = clean, clean, x.changed(r, clean)
	}
	if err == nil && len(data) == len(a.data) && &data[0] == &a.data[0] {
		err = x.search.raw(r.Context(), data)
	}
	if err != nil {
		return err
	}
	put(r, &spent{bytes.NewReader(data), a.done})
	return nil
}

// raw searches a coded body for what stands beside what it decodes to.
func (q *search) raw(ctx context.Context, data []byte) error {
	in := q.bodyInput("")
	in.Data = data
	findings, err := q.scan(ctx, in)
	if err != nil {
		return err
	}
	return q.settle(inBody, findings)
}

// through searches a body that decodes to more than is held at a time.
func (q *search) through(ctx context.Context, h http.Header, plain io.Reader) error {
	decoded := h.Clone()
	decoded.Del("Content-Encoding")
	body := q.stream(ctx, inBody, decoded, io.NopCloser(io.LimitReader(plain, maxDecoded+1)))
	defer func() { _ = body.Close() }()
	n, err := io.Copy(io.Discard, body)
	switch {
	case errors.As(err, new(*leak)), errors.As(err, new(*errUnsearched)):
		return err
	case err != nil:
		return notCoded("the body is not in the content coding that it names")
	case n > maxDecoded:
		return notCoded("the body has more than %d MiB once decoded", maxDecoded>>20)
	}
	return nil
}

// undo opens the codings, the last one first. Between two of them there may be so many bytes: a
// few of one can hold gigabytes of another, in which there is nothing.
func undo(data []byte, all []string, between int64) (*decoders, error) {
	if len(all) > maxCodings {
		return nil, notCoded("the body is in too many content codings")
	}
	opened := &decoders{Reader: bytes.NewReader(data)}
	for i := len(all) - 1; i >= 0; i-- {
		if len(opened.all) > 0 {
			opened.Reader = &atMost{opened.Reader, between}
		}
		source := bufio.NewReader(opened.Reader) // from which a decoder takes no more than it needs
		d, err := decoder(all[i], source)
		if err != nil {
			_ = opened.Close()
			return nil, err
		}
		opened.Reader, opened.all, opened.sources = d, append(opened.all, d), append(opened.sources, source)
	}
	return opened, nil
}

// atMost is a reader that fails once there is more than left bytes.
type atMost struct {
	io.Reader
	left int64
}

// Read implements io.Reader.
func (a *atMost) Read(p []byte) (int, error) {
	if a.left < 0 {
		return 0, errBetween()
	}
	n, err := a.Reader.Read(p[:min(int64(len(p)), a.left+1)])
	if a.left -= int64(n); a.left < 0 {
		return n - 1, errBetween()
	}
	return n, err
}

func errBetween() error {
	return notCoded("there is more between the codings of the body than is unpacked")
}

// decoders are one behind the other.
type decoders struct {
	io.Reader
	all     []io.Closer
	sources []*bufio.Reader
}

// Read implements io.Reader. What stands behind the end of what is coded is an error:
// nobody has looked into it.
func (d *decoders) Read(p []byte) (int, error) {
	n, err := d.Reader.Read(p)
	if err != io.EOF {
		return n, err
	}
	for _, source := range d.sources {
		if _, more := source.Peek(1); more != io.EOF {
			return n, io.ErrUnexpectedEOF
		}
	}
	return n, err
}

// Close implements io.Closer.
func (d *decoders) Close() error {
	for _, one := range d.all {
		_ = one.Close()
	}
	return nil
}

func decoder(coding string, from io.Reader) (io.ReadCloser, error) {
	switch coding {
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(from)
		if err != nil {
			return nil, notCoded("the body is not in the content coding that it names")
		}
		return z, nil
	case "deflate":
		z, err := zlib.NewReader(from)
		if err != nil {
			return nil, notCoded("the body is not in the content coding that it names")
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
	return nil, notCoded("a body in the content coding %q cannot be looked into", coding)
}

// reserve waits for leave to hold so many bytes of bodies in memory.
func reserve(ctx context.Context, of *semaphore.Weighted, n int64) (done func(), err error) {
	if err := of.Acquire(ctx, n); err != nil {
		return func() {}, err
	}
	return sync.OnceFunc(func() { of.Release(n) }), nil
}
