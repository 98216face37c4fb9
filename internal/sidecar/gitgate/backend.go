package gitgate

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"sync/atomic"
)

// backendCall is one request for git http-backend.
type backendCall struct {
	path, query string
	extra       []string // environment for the hooks
}

// maxPack bounds what one push may send, in bytes; maxRequest what one fetch may ask.
const (
	maxPack    = 2 << 30
	maxRequest = 64 << 20
)

// backend answers by way of git http-backend(1), which is a CGI program (RFC 3875). It
// counts what went in and out. The standard library's CGI refuses bodies of unknown length,
// which is how git sends all but small ones, and does not end what the program started.
func (s *Server) backend(w http.ResponseWriter, r *http.Request, m *mirror, call backendCall) (in, out int64) {
	g := m.local
	g.extra = append([]string{
		"GIT_PROJECT_ROOT=" + m.dir, "GIT_HTTP_EXPORT_ALL=1", "PATH_INFO=/" + call.path, "QUERY_STRING=" + call.query,
		"REQUEST_METHOD=" + r.Method, "REMOTE_USER=bottle", "REMOTE_ADDR=127.0.0.1", "GATEWAY_INTERFACE=CGI/1.1", "SERVER_PROTOCOL=HTTP/1.1",
		"CONTENT_TYPE=" + contentType(r, call.path),
	}, call.extra...)
	if strings.EqualFold(r.Header.Get("Content-Encoding"), "gzip") {
		g.extra = append(g.extra, "HTTP_CONTENT_ENCODING=gzip")
	}
	if protocol := r.Header.Get("Git-Protocol"); plainWord(protocol) {
		g.extra = append(g.extra, "GIT_PROTOCOL="+protocol)
	}
	if r.ContentLength > 0 {
		g.extra = append(g.extra, "CONTENT_LENGTH="+strconv.FormatInt(r.ContentLength, 10))
	}
	body := &counted{Reader: http.MaxBytesReader(w, r.Body, limitOf(call.path))}
	c := g.command(r.Context(), "http-backend")
	c.Stdin = body
	complaint := &bounded{most: 16 << 10, tail: true}
	c.Stderr = complaint
	pipe, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		s.Log.Error("git did not start", "err", err)
		refuse(w, http.StatusInternalServerError, "bot-bottle: git does not start")
		return 0, 0
	}
	defer func() { // what it still does, nobody waits for
		_ = pipe.Close()
		if err := c.Wait(); err != nil {
			s.Log.Info("git ended badly", "verb", call.path, "err", err, "said", printable(complaint.String()))
		}
	}()
	sent, err := relayCGI(w, pipe)
	if err != nil {
		_ = killGroup(c.Process)
	}
	return body.n.Load(), sent
}

func limitOf(path string) int64 {
	if path == receivePack {
		return maxPack
	}
	return maxRequest
}

// contentType is the only one that a service takes.
func contentType(r *http.Request, path string) string {
	if want := "application/x-" + path + "-request"; r.Header.Get("Content-Type") == want {
		return want
	}
	return ""
}

// plainWord takes what the header may hold (gitprotocol-v2(5)), nothing else.
func plainWord(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789=:-.") == ""
}

// relayCGI passes a CGI program's answer on, as it comes.
func relayCGI(w http.ResponseWriter, from io.Reader) (int64, error) {
	buffered := bufio.NewReaderSize(from, 64<<10)
	header, err := textproto.NewReader(buffered).ReadMIMEHeader()
	if err != nil {
		refuse(w, http.StatusInternalServerError, "bot-bottle: git did not answer")
		return 0, fmt.Errorf("cannot read git's answer: %w", err)
	}
	code := http.StatusOK
	if status := header.Get("Status"); status != "" {
		number, _, _ := strings.Cut(status, " ")
		if code, err = strconv.Atoi(number); err != nil || code < 200 || code > 599 {
			code = http.StatusInternalServerError
		}
	}
	for _, name := range []string{"Content-Type", "Cache-Control", "Expires", "Pragma"} {
		if v := header.Get(name); v != "" {
			w.Header().Set(name, v)
		}
	}
	w.WriteHeader(code)
	return io.Copy(flushed{w}, buffered)
}

// flushed sends each write at once: git tells of its progress.
type flushed struct{ http.ResponseWriter }

func (f flushed) Write(p []byte) (int, error) {
	n, err := f.ResponseWriter.Write(p)
	if err == nil {
		err = http.NewResponseController(f.ResponseWriter).Flush()
	}
	return n, err
}

// counted counts what is read.
type counted struct {
	io.Reader
	n atomic.Int64 // exec may still read when the program has ended
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}
