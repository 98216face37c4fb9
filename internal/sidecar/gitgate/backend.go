package gitgate

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// backendCall is one request for git http-backend.
type backendCall struct {
	path, query string
	extra       []string  // environment for the hooks
	asked, said io.Writer // see what the client sends, and gets; nil for nobody
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
	m.users.RLock()
	defer m.users.RUnlock()
	g := m.local
	g.extra = append([]string{
		"GIT_PROJECT_ROOT=" + m.dir, "GIT_HTTP_EXPORT_ALL=1", "PATH_INFO=/" + call.path, "QUERY_STRING=" + call.query,
		"REQUEST_METHOD=" + r.Method, "REMOTE_USER=bottle", "REMOTE_ADDR=127.0.0.1", "GATEWAY_INTERFACE=CGI/1.1", "SERVER_PROTOCOL=HTTP/1.1",
		"CONTENT_TYPE=" + contentType(r, call.path),
	}, call.extra...)
	if protocol := r.Header.Get("Git-Protocol"); plainWord(protocol) {
		g.extra = append(g.extra, "GIT_PROTOCOL="+protocol)
	}
	// The length of the body is not told: git http-backend spins when less comes.
	ctx, cancel := context.WithTimeout(r.Context(), maxOperation)
	defer cancel()
	client := &patient{ResponseController: http.NewResponseController(w), ended: ctx.Err, sends: patience{limit: s.patience}, takes: patience{limit: s.patience}}
	defer context.AfterFunc(ctx, client.giveUp)()
	_ = client.EnableFullDuplex() // git may answer before it has read all
	body := &counted{failed: cancel, Reader: client.reader(http.MaxBytesReader(w, r.Body, limitOf(call.path)))}
	stdin, err := unpacked(r, body, limitOf(call.path))
	if err == nil && call.path == receivePack {
		stdin, err = checkCommands(stdin)
	}
	if err != nil {
		w.Header().Set("Connection", "close")
		refuse(w, http.StatusForbidden, "bot-bottle: REFUSED: "+err.Error())
		return body.n.Load(), 0
	}
	c := g.command(ctx, "http-backend")
	c.Stdin = watched(stdin, call.asked)
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
	sent, err := relayCGI(w, client, pipe, call.said)
	if err != nil {
		cancel() // what it still does, nobody waits for
	}
	_ = pipe.Close()
	if err := c.Wait(); err != nil {
		s.Log.Info("git ended badly", "verb", call.path, "err", err, "said", printable(complaint.String()))
	}
	endGroup(c.Process)
	return body.n.Load(), sent
}

// patient bounds how long a client may take to send something, or to take it. Neither is waited for
// once the request's context has ended.
type patient struct {
	*http.ResponseController
	ended        func() error
	sends, takes patience
}

// giveUp ends what is being waited for.
func (p *patient) giveUp() { _ = p.SetReadDeadline(time.Unix(1, 0)) }

func (p *patient) reader(body io.Reader) io.Reader {
	return readerFunc(func(b []byte) (int, error) {
		began := time.Now()
		_ = p.SetReadDeadline(p.sends.deadline())
		if p.ended() != nil {
			p.giveUp()
		}
		n, err := body.Read(b)
		p.sends.account(began, n)
		if err != nil { // the server reads on, to notice a client that hangs up
			_ = p.SetReadDeadline(time.Time{})
		}
		return n, err
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

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

// relayCGI passes a CGI program's answer on, as it comes; said sees its body.
func relayCGI(w http.ResponseWriter, client *patient, from io.Reader, said io.Writer) (int64, error) {
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
	return io.Copy(flushed{w, client}, watched(buffered, said))
}

// flushed sends each write at once: git tells of its progress.
type flushed struct {
	io.Writer
	client *patient
}

func (f flushed) Write(p []byte) (int, error) {
	began := time.Now()
	_ = f.client.SetWriteDeadline(f.client.takes.deadline())
	n, err := f.Writer.Write(p)
	if err == nil {
		err = f.client.Flush()
	}
	f.client.takes.account(began, n)
	return n, err
}

// counted counts what is read, and tells of a body that does not come to its end.
type counted struct {
	io.Reader
	failed func()
	n      atomic.Int64 // exec may still read when the program has ended
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		c.failed()
	}
	return n, err
}
