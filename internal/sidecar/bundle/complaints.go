package bundle

import (
	"fmt"
	"io"
	"sync"
)

// maxComplaints bounds what a bundle and its services say on standard error. In a container it is in one
// log with the audit log, which the engine forgets from the beginning once it is too long, and an upstream
// or a bottle can have a library say a line for each frame that it sends.
const maxComplaints = 16 << 20

// newComplaints hands on the first of what is written to it, and drops the rest. Several may write
// at a time, and no write fails.
func newComplaints(to io.Writer) io.Writer { return &complaints{to: to, left: maxComplaints} }

type complaints struct {
	mu   sync.Mutex
	to   io.Writer
	left int
}

// Write implements io.Writer.
func (c *complaints) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left <= 0 {
		return len(b), nil
	}
	said := b[:min(len(b), c.left)]
	_, _ = c.to.Write(said)
	if c.left -= len(said); c.left == 0 {
		_, _ = fmt.Fprintf(c.to, "\nmore than %d MiB was complained of: the rest is left out\n", maxComplaints>>20)
	}
	return len(b), nil
}
