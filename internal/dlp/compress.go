package dlp

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// inflate searches what is compressed inside a view: gzip, zlib, zstd and the members
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
			r, err := f.open(v.data[at:])
			if err != nil {
				continue
			}
			c.work(1024)
			c.stream(v.child(f.name, nil, nil), r, depth-1)
			closeZstd(r)
		}
	}
	if len(v.data) > 2 && v.data[0] != 'x' {
		if r, err := openZlib(v.data); err == nil {
			c.stream(v.child("zlib", nil, nil), r, depth-1)
		}
	}
}

// format is a way to compress that can be recognised.
type format struct {
	name, magic string
	rare        int // the place in magic that is looked for
	open        func([]byte) (io.Reader, error)
}

func formats() [4]format {
	return [4]format{
		{"gzip", "\x1f\x8b\x08", 1, func(b []byte) (io.Reader, error) { return gzip.NewReader(bytes.NewReader(b)) }},
		{"zstd", "\x28\xb5\x2f\xfd", 1, func(b []byte) (io.Reader, error) { return newZstd(bytes.NewReader(b)) }},
		{"zip", "PK\x03\x04", 2, openZip},
		{"zlib", "\x78", 0, openZlib},
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
		if start := at - f.rare; bytes.HasPrefix(data[start:], []byte(f.magic)) {
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

// openZlib accepts what is a header of zlib without a dictionary.
func openZlib(b []byte) (io.Reader, error) {
	if len(b) < MinKnown || b[0]&0x8F != 8 || b[1]&0x20 != 0 || binary.BigEndian.Uint16(b)%31 != 0 {
		return nil, zlib.ErrHeader
	}
	return flate.NewReader(bytes.NewReader(b[2:])), nil
}

// openZip reads the one member whose local header b begins with.
func openZip(b []byte) (io.Reader, error) {
	const header = 30
	if len(b) < header || binary.LittleEndian.Uint16(b[8:]) != 8 {
		return nil, io.ErrUnexpectedEOF
	}
	body := header + int(binary.LittleEndian.Uint16(b[26:])) + int(binary.LittleEndian.Uint16(b[28:]))
	if body > len(b) {
		return nil, io.ErrUnexpectedEOF
	}
	return flate.NewReader(bytes.NewReader(b[body:])), nil
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
)

// stream searches what r yields, window by window. It returns what kept r from being
// read to its end.
func (c *scan) stream(v *view, r io.Reader, depth int) error {
	window := c.borrow()
	defer func() { c.giveBack(window) }()
	for {
		kept := len(window)
		window = append(window, make([]byte, windowSize-kept)...)
		n, err := io.ReadFull(r, window[kept:])
		window = window[:kept+n]
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
