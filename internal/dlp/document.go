package dlp

import (
	"bytes"
	"fmt"
	"io"
)

// maxCodings bounds the content encodings of one body.
const maxCodings = 3

// document searches the whole input.
func (c *scan) document() {
	codings := encodings(c.in.ContentEncoding)
	if c.in.Kind != Body || len(codings) == 0 {
		switch v := (&view{data: c.in.Data}); {
		case c.in.Kind == Body && c.cache != nil:
			c.cached(v)
		case c.in.Kind == Header && c.heads != nil:
			c.repeated(v)
		default:
			c.plain(v)
		}
		c.together(c.pieces)
		return
	}
	if len(codings) > maxCodings {
		c.err = fmt.Errorf("%w: %d codings", ErrEncoding, len(codings))
		return
	}
	var r io.Reader = bytes.NewReader(c.in.Data)
	v := &view{data: c.in.Data}
	for _, coding := range codings {
		inner, err := decoder(coding, r)
		if err != nil {
			c.err = encodingError(err)
			return
		}
		defer closeZstd(inner)
		r, v = inner, v.child(coding, nil, nil)
	}
	end := &ending{Reader: r}
	c.stream(v, end, c.depth)
	if c.err == nil && end.err != io.EOF {
		c.err = encodingError(end.err)
	}
	c.together(c.pieces)
}

// encodingError drops the words of err, which may quote the data.
func encodingError(error) error { return ErrEncoding }

// ending remembers how a stream ended.
type ending struct {
	io.Reader
	err error
}

func (e *ending) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	if err != nil {
		e.err = err
	}
	return n, err
}

// plain searches data that is in no content encoding.
func (c *scan) plain(v *view) { c.view(v, c.depth) }
