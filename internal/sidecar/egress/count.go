package egress

import (
	"io"
	"net/http"
	"sync/atomic"
)

// countingWriter knows what was answered. Flushing and hijacking go through Unwrap
// (http.ResponseController).
type countingWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// Unwrap implements what http.ResponseController looks for.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter. Interim answers (RFC 9110 §15.2) are not
// handed on: they come past the step that cleans an answer, and nobody needs them.
func (w *countingWriter) WriteHeader(status int) {
	if status < 200 && status != http.StatusSwitchingProtocols {
		return
	}
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// countingBody counts what went out. A transport may still read it after the answer.
type countingBody struct {
	io.ReadCloser
	bytes atomic.Int64
}

func (c *countingBody) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.bytes.Add(int64(n))
	return n, err
}
