package dlp

import (
	"bytes"
	"compress/bzip2"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// inflate searches what is compressed inside a view: gzip, zlib, zstd, bzip2 and the members
// of a zip archive, wherever one begins. What turns out to be none ends soon.
func (c *scan) inflate(v *view, depth int) {
	if depth <= 0 {
		return
	}
	for _, f := range formats() {
		if !c.work(len(v.data) / 16) {
			return
		}
		for at := f.next(v.data, 0); at >= 0 && c.err == nil; at = f.next(v.data, at+1) {
			ended, begun := false, f.name == "zstd" || f.name == "bzip2" && isBzip2(v.data[at:])
			if body := f.deflated(v.data[at:]); body != nil {
				ended, begun = c.deflated(v.child(f.name, nil, nil), body, depth-1), true
			} else {
				c.other(f.name, v, at, depth-1)
			}
			if !ended {
				c.goesOn(v, f.name, at, begun)
			}
		}
	}
	if len(v.data) > 2 && v.data[0] != 'x' {
		if body := zlibBody(v.data); body != nil && !c.deflated(v.child("zlib", nil, nil), body, depth-1) {
			c.goesOn(v, "zlib", 0, true)
		}
	}
}

// goesOn takes note of compressed data that does not end before the view does. What
// stands in the body itself is decompressed as that goes on; what is encoded, or has
// only begun its header, is looked at again.
func (c *scan) goesOn(v *view, format string, at int, begun bool) {
	if v.parent == nil && begun && c.end != math.MaxInt {
		c.packs = append(c.packs, packed{format, at})
		return
	}
	c.watched(v, at, len(v.data))
}

// packed is where compressed data begins.
type packed struct {
	format string
	at     int
}

// deflated searches what body decompresses to, and reports whether that ended before
// body did.
func (c *scan) deflated(v *view, body []byte, depth int) (ended bool) {
	if !c.work(1024) {
		return true
	}
	var r io.Reader
	from := bytes.NewReader(body)
	if n := len(c.flates); n > 0 {
		r, c.flates = c.flates[n-1], c.flates[:n-1]
		_ = r.(flate.Resetter).Reset(from, nil)
	} else {
		r = flate.NewReader(from)
	}
	c.stream(v, r, depth)
	left := from.Len()
	_ = r.(flate.Resetter).Reset(bytes.NewReader(nil), nil) // it holds on to nothing
	c.flates = append(c.flates, r)
	return left > 0
}

// other searches what is compressed otherwise than by deflate, or not at all.
func (c *scan) other(name string, v *view, at, depth int) {
	switch name {
	case "zstd":
		c.zstd(v.child(name, nil, nil), v.data[at:], depth)
	case "bzip2":
		c.bzip2(v.child(name, nil, nil), v.data[at:], depth)
	case "zip":
		if b := v.data[at:]; len(b) >= zipFixed { // its name stands before it, with nothing between
			if size, deflate := zipSize(b); !deflate && size < len(b) {
				c.search(v.part(at+size, min(len(v.data), at+size+maxToken)))
			}
		}
	}
}

// bzip2Block is how a block begins, and bzip2Table what a decompressor makes room for.
const (
	bzip2Block = "1AY&SY"
	bzip2Table = 4 * 900_000
)

func isBzip2(b []byte) bool { return len(b) >= 10 && string(b[4:10]) == bzip2Block }

func (c *scan) bzip2(v *view, data []byte, depth int) {
	if !isBzip2(data) || !c.work(bzip2Table) {
		return
	}
	c.stream(v, bzip2.NewReader(bytes.NewReader(data)), depth)
}

func (c *scan) zstd(v *view, data []byte, depth int) {
	r, err := newZstd(bytes.NewReader(data))
	if err != nil || !c.work(1024) {
		return
	}
	defer r.Close()
	c.stream(v, r, depth)
}

// format is a way to compress that can be recognised.
type format struct {
	name, magic string
	rare        int                 // the place in magic that is looked for
	deflated    func([]byte) []byte // what is behind the header, nil if that is no deflate
}

func formats() [5]format {
	return [5]format{
		{"gzip", "\x1f\x8b\x08", 1, gzipBody},
		{"zstd", "\x28\xb5\x2f\xfd", 1, func([]byte) []byte { return nil }},
		{"zip", "PK\x03\x04", 2, zipBody},
		{"bzip2", "BZh", 1, func([]byte) []byte { return nil }},
		{"zlib", "\x78", 0, zlibBody},
	}
}

// next is where the format's magic next is, -1 if nowhere.
func (f *format) next(data []byte, from int) int {
	for at := from + f.rare; at < len(data); at++ {
		i := bytes.IndexByte(data[at:], f.magic[f.rare])
		if i < 0 {
			return -1
		}
		at += i
		if start := at - f.rare; string(data[start:min(start+len(f.magic), len(data))]) == f.magic && (f.rare > 0 || zlibBody(data[start:]) != nil) {
			return start
		}
	}
	return -1
}

func startsCompressed(data []byte) bool {
	for _, f := range formats() {
		if bytes.HasPrefix(data, []byte(f.magic)) {
			return true
		}
	}
	return false
}

// gzipBody skips a member's header. The checksum behind it is not asked: what comes out
// is searched anyway.
func gzipBody(b []byte) []byte {
	r := bytes.NewReader(b)
	if _, err := gzip.NewReader(byteReader{r}); err != nil {
		return nil
	}
	return b[len(b)-r.Len():]
}

// byteReader keeps a decompressor from reading ahead.
type byteReader struct{ *bytes.Reader }

// zlibBody skips what is a header of zlib without a dictionary.
func zlibBody(b []byte) []byte {
	if len(b) < MinKnown || !isZlib(b) {
		return nil
	}
	return b[2:]
}

func isZlib(b []byte) bool {
	return b[0]&0x8F == 8 && b[1]&0x20 == 0 && binary.BigEndian.Uint16(b)%31 == 0
}

// zipBody skips the local header of a member.
func zipBody(b []byte) []byte {
	if len(b) < zipFixed {
		return nil
	}
	size, deflate := zipSize(b)
	if !deflate || size > len(b) {
		return nil
	}
	return b[size:]
}

const zipFixed = 30

// zipSize is how long a local header is, and whether deflate follows.
func zipSize(b []byte) (size int, deflate bool) {
	size = zipFixed + int(binary.LittleEndian.Uint16(b[26:])) + int(binary.LittleEndian.Uint16(b[28:]))
	return size, binary.LittleEndian.Uint16(b[8:]) == 8
}

// maxZstdWindow bounds what a decompressor keeps of what it has read.
const maxZstdWindow = 8 << 20

func newZstd(r io.Reader) (*zstd.Decoder, error) {
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
}

func closeZstd(r io.Reader) {
	if d, ok := r.(*zstd.Decoder); ok {
		d.Close()
	}
}

const (
	// windowSize is how much of a stream is searched at a time, and overlap how much of
	// it is searched again with what follows.
	windowSize = 128 << 10
	overlap    = 16 << 10
	firstRead  = 1 << 10
)

// stream searches what r yields, window by window. It returns what kept r from being
// read to its end.
func (c *scan) stream(v *view, r io.Reader, depth int) error {
	window := c.borrow()
	defer func() { c.giveBack(window) }()
	for {
		kept := len(window)
		var err error
		window, err = fill(window, r)
		n := len(window) - kept
		if n == 0 && kept > 0 || !c.decode(n) {
			return done(err)
		}
		part := *v
		part.data = window
		if depth >= 0 {
			c.bytes(&part, depth)
		}
		if err != nil || c.err != nil {
			return done(err)
		}
		window = append(window[:0], window[len(window)-overlap:]...)
	}
}

// fill reads until a window is full, little at first: most of what seems to begin
// compressed data is none, and ends at once.
func fill(window []byte, r io.Reader) ([]byte, error) {
	for len(window) < windowSize {
		more := min(max(len(window), firstRead), windowSize-len(window))
		window = slices.Grow(window, more)
		n, err := io.ReadFull(r, window[len(window):len(window)+more])
		window = window[:len(window)+n]
		if err != nil {
			return window, err
		}
	}
	return window, nil
}

func done(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil
	}
	return err
}

// decoder undoes one content encoding.
func decoder(encoding string, r io.Reader) (io.Reader, error) {
	switch encoding {
	case "gzip", "x-gzip":
		return gzip.NewReader(r)
	case "deflate":
		return zlib.NewReader(r)
	case "br":
		return brotli.NewReader(r), nil
	case "zstd":
		return newZstd(r)
	}
	return nil, fmt.Errorf("%w: not one that is known", ErrEncoding)
}

// encodings lists the content encodings of a header, the outermost first.
func encodings(header string) []string {
	var list []string
	for _, name := range strings.Split(header, ",") {
		if name = strings.ToLower(strings.TrimSpace(name)); name != "" && name != "identity" {
			list = append([]string{name}, list...)
		}
	}
	return list
}
