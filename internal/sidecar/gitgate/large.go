package gitgate

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/bot-bottle/bot-bottle/internal/dlp"
)

// insideBudget bounds what a large file may unpack to, in bytes.
const insideBudget = 512 << 20

// searchBlob searches a file, a large one in two ways: what it says as it comes, and what is
// compressed in it as a whole, one at a time, since that is kept in memory.
func (c *checker) searchBlob(ctx context.Context, in *inspection, o object, content io.Reader, size int64) error {
	if size > wholeBlob {
		c.large.Lock()
		defer c.large.Unlock()
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(content, data); err != nil {
		return err
	}
	if size <= wholeBlob {
		return c.search(ctx, in, o, "blob", data, nil)
	}
	if err := c.searchStream(ctx, in, o, bytes.NewReader(data)); err != nil {
		return err
	}
	findings, err := c.inside.ScanInside(ctx, dlp.Input{Kind: dlp.Body, Data: data})
	in.found(o, "blob", nil, findings)
	if err != nil {
		return unsearched(o, "blob", err)
	}
	return nil
}

// searchStream searches a large file as it comes.
func (c *checker) searchStream(ctx context.Context, in *inspection, o object, content io.Reader) error {
	stream, err := c.scanner.NewStream(dlp.Input{Kind: dlp.Body})
	if err != nil {
		return err
	}
	defer stream.Close()
	buffer := make([]byte, 256<<10)
	for {
		n, err := io.ReadFull(content, buffer)
		findings, failed := stream.Write(ctx, buffer[:n])
		in.found(o, "blob", nil, findings)
		switch {
		case failed != nil:
			return unsearched(o, "blob", failed)
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		}
	}
}
