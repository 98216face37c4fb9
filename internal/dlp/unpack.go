package dlp

import (
	"bytes"
	"compress/bzip2"
	"io"
	"iter"

	"github.com/andybalholm/brotli"
)

// unpacker decompresses what comes in pieces.
type unpacker interface {
	// write hands on what p goes on with. ended says that the compressed data was over;
	// rest is what of p stands behind it.
	write(p []byte, yield func([]byte) error) (rest []byte, ended bool, err error)
	// finish reports whether the data may end here.
	finish() bool
	close()
}

// newUnpacker undoes a content encoding, or what one of the formats begins.
func newUnpacker(name string) unpacker {
	switch name {
	case "gzip", "x-gzip":
		return &deflated{head: gzipHead, tail: 8}
	case "zlib", "deflate":
		return &deflated{head: zlibHead, tail: 4}
	case "zip":
		return &deflated{head: zipHead}
	case "bzip2":
		return newPulled(func(r io.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil })
	case "br":
		return newPulled(func(r io.Reader) (io.Reader, error) { return brotli.NewReader(r), nil })
	case "zstd":
		return newPulled(func(r io.Reader) (io.Reader, error) { return newZstd(r) })
	}
	return nil
}

// deflated is deflate behind a head and before a tail.
type deflated struct {
	head  func([]byte) (size int, err error)
	begun []byte // of the head
	data  *inflater
	tail  int // bytes that are no longer looked at
	ended bool
}

func (d *deflated) write(p []byte, yield func([]byte) error) ([]byte, bool, error) {
	if d.data == nil {
		d.begun = append(d.begun, p...)
		size, err := d.head(d.begun)
		if err == errMore && len(d.begun) < maxHead {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, errCorrupt
		}
		p, d.begun, d.data = d.begun[size:], nil, &inflater{}
	}
	if !d.ended {
		var err error
		if p, d.ended, err = d.data.write(p, yield); err != nil || !d.ended {
			return nil, false, err
		}
	}
	n := min(d.tail, len(p))
	d.tail -= n
	return p[n:], d.tail == 0, nil
}

func (d *deflated) finish() bool { return d.ended && d.tail == 0 }

func (d *deflated) close() {}

// maxHead bounds what stands before compressed data.
const maxHead = 128 << 10

// gzipHead is the length of a member's head (RFC 1952 §2.3).
func gzipHead(b []byte) (int, error) {
	const fixed, checked, extra, name, comment = 10, 1 << 1, 1 << 2, 1 << 3, 1 << 4
	if len(b) < fixed {
		return 0, errMore
	}
	if b[0] != 0x1F || b[1] != 0x8B || b[2] != 8 {
		return 0, errCorrupt
	}
	flags, size := b[3], fixed
	if flags&extra != 0 {
		if len(b) < size+2 {
			return 0, errMore
		}
		size += 2 + int(b[size]) + int(b[size+1])<<8
	}
	for _, text := range []byte{name, comment} {
		if flags&text == 0 {
			continue
		}
		end := bytes.IndexByte(b[min(size, len(b)):], 0)
		if end < 0 {
			return 0, errMore
		}
		size += end + 1
	}
	if flags&checked != 0 {
		size += 2
	}
	if size > len(b) {
		return 0, errMore
	}
	return size, nil
}

func zlibHead(b []byte) (int, error) {
	if len(b) < 2 {
		return 0, errMore
	}
	if !isZlib(b) {
		return 0, errCorrupt
	}
	return 2, nil
}

func zipHead(b []byte) (int, error) {
	if len(b) < zipFixed {
		return 0, errMore
	}
	size, deflate := zipSize(b)
	switch {
	case !deflate:
		return 0, errCorrupt
	case size > len(b):
		return 0, errMore
	}
	return size, nil
}

// pulled is a decompressor that reads, turned into one that is written to: it runs as a
// coroutine that stops where it wants more.
type pulled struct {
	next  func() ([]byte, bool)
	stop  func()
	data  []byte // for it to read
	final bool   // there is no more
	err   error  // how it ended
}

func newPulled(open func(io.Reader) (io.Reader, error)) *pulled {
	p := &pulled{}
	p.next, p.stop = iter.Pull(func(yield func([]byte) bool) { p.err = p.run(open, yield) })
	return p
}

// run yields what comes out, and nothing where more must come in.
func (p *pulled) run(open func(io.Reader) (io.Reader, error), yield func([]byte) bool) error {
	r, err := open(reader(func(b []byte) (int, error) {
		for len(p.data) == 0 {
			if p.final {
				return 0, io.EOF
			}
			if !yield(nil) {
				return 0, io.ErrClosedPipe
			}
		}
		n := copy(b, p.data)
		p.data = p.data[n:]
		return n, nil
	}))
	if err != nil {
		return err
	}
	defer closeZstd(r)
	buffer := make([]byte, handful/2)
	for {
		n, err := r.Read(buffer)
		if n > 0 && !yield(buffer[:n]) || err != nil {
			return err
		}
	}
}

// reader is a function that reads.
type reader func(p []byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }

func (p *pulled) write(data []byte, yield func([]byte) error) ([]byte, bool, error) {
	p.data = data
	for {
		out, ok := p.next()
		switch {
		case !ok && p.err == io.EOF:
			return p.data, true, nil
		case !ok:
			return nil, false, errCorrupt
		case out == nil:
			return nil, false, nil
		}
		if err := yield(out); err != nil {
			return nil, false, err
		}
	}
}

func (p *pulled) finish() bool {
	p.final = true
	out, ok := p.next()
	return out == nil && !ok && p.err == io.EOF
}

func (p *pulled) close() { p.stop() }
