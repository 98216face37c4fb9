package egress

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// isGit reports whether a client says that it is git. Whoever runs that reads of a refusal what
// is plain text, in the answer to a request: of the answer to a CONNECT it shows a number.
func isGit(r *http.Request) bool { return strings.HasPrefix(r.UserAgent(), "git/") }

// gitTimeout is how long git may take to ask what it is then told; maxAnswers, how many are told
// at once. All others get the number.
const (
	gitTimeout = 10 * time.Second
	maxAnswers = 32
)

var errManyAnswers = errors.New("as many as may be are being told already")

// refuseGit opens a tunnel that leads nowhere, to answer in it. Nothing was written when it
// returns an error.
func (s *Server) refuseGit(w http.ResponseWriter, r *http.Request, no refusal) error {
	host, err := policy.ParseHost(no.host)
	if err != nil {
		return err
	}
	select {
	case s.answers <- struct{}{}:
		defer func() { <-s.answers }()
	default:
		return errManyAnswers
	}
	conn, err := takeOver(w)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(gitTimeout))
	if _, err := conn.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n")); err != nil {
		return nil
	}
	config := s.tlsConfig(&tunnel{host: host})
	config.NextProtos = []string{"http/1.1"}
	secure := tls.Server(conn, config)
	defer func() { _ = secure.Close() }()
	asked, err := http.ReadRequest(bufio.NewReader(io.LimitReader(secure, 16<<10)))
	if err != nil {
		return nil
	}
	text := s.forGit(s.notice(r, no), asked.URL.Path)
	answer := http.Response{
		StatusCode: http.StatusForbidden, ProtoMajor: 1, ProtoMinor: 1, Close: true,
		Header: http.Header{"Content-Type": {"text/plain"}, "Cache-Control": {"no-store"}},
		Body:   io.NopCloser(strings.NewReader(text)), ContentLength: int64(len(text)),
	}
	if answer.Write(secure) == nil && secure.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, secure)
	}
	return nil
}

// forGit is a notice in lines, for a request of this path.
func (s *Server) forGit(n notice, path string) string {
	lines := []string{"bot-bottle: " + n.Reason}
	url := repositoryURL(n.Request.Host, n.Request.Port, path)
	switch {
	case n.Error != "egress_denied" || url == "":
	case s.supervised:
		lines = append(lines, url+" is not one of this bottle's repositories.",
			fmt.Sprintf(`If you need it, call request_git of the MCP server "operator" with {"repository":%q} and why you need it.`, url))
	default:
		lines = append(lines, url+" is not one of this bottle's repositories: the operator declares those in the bottle's manifest, under git.")
	}
	if n.Hint != "" && len(lines) == 1 {
		lines = append(lines, n.Hint)
	}
	return strings.Join(lines, "\n") + "\n"
}

// repositoryURL is what git was asked for, "" where that is no plain URL.
func repositoryURL(host string, port int, path string) string {
	for _, end := range []string{"/info/refs", "/git-upload-pack", "/git-receive-pack"} {
		path = strings.TrimSuffix(path, end)
	}
	path = strings.Trim(path, "/")
	if path == "" || len(path) > 200 || strings.Trim(strings.ToLower(path), "abcdefghijklmnopqrstuvwxyz0123456789._~/+-") != "" {
		return ""
	}
	if _, err := policy.ParseHost(host); err != nil {
		return ""
	}
	if port != 0 && port != 443 {
		host = fmt.Sprintf("%s:%d", host, port)
	}
	return "https://" + host + "/" + path
}
