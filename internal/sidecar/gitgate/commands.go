package gitgate

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// maxCommands bounds what a client may say before its pack, in bytes. git keeps all of it
// in memory, and names of refs pack well.
const maxCommands = 1 << 20

var (
	errCommands = fmt.Errorf("it asks for more than %d KiB of changes of refs at once: push fewer", maxCommands>>10)
	errSigned   = errors.New("signed pushes do not pass: push without --signed")
	errFraming  = errors.New("that is not git's protocol")
)

// unpacked is a request's body without its compression, at most so long.
func unpacked(r *http.Request, body io.Reader, most int64) (io.Reader, error) {
	if !strings.EqualFold(r.Header.Get("Content-Encoding"), "gzip") {
		return body, nil
	}
	z, err := gzip.NewReader(body)
	if err != nil {
		return nil, errFraming
	}
	return &atMost{z, most}, nil
}

// atMost fails when there is more.
type atMost struct {
	io.Reader
	left int64
}

func (a *atMost) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	if a.left -= int64(n); a.left < 0 {
		return 0, errors.New("the request unpacks to too much")
	}
	return n, err
}

// checkCommands reads the lines before a pack (gitprotocol-pack(5)) up to their end, and returns
// all of the body again. It does not look at what they ask for, git does; it keeps away what
// git would take without end, and certificates, which git writes down before it asks us.
func checkCommands(body io.Reader) (io.Reader, error) {
	in := bufio.NewReaderSize(body, 64<<10)
	var said bytes.Buffer
	for {
		head := make([]byte, 4)
		if _, err := io.ReadFull(in, head); err != nil {
			return nil, errFraming
		}
		size, err := strconv.ParseUint(string(head), 16, 16)
		if err != nil || size > 0 && size < 4 {
			return nil, errFraming
		}
		said.Write(head)
		if size == 0 {
			return io.MultiReader(&said, in), nil
		}
		before := said.Len()
		if before+int(size) > maxCommands {
			return nil, errCommands
		}
		if _, err := io.CopyN(&said, in, int64(size)-4); err != nil {
			return nil, errFraming
		}
		if bytes.HasPrefix(said.Bytes()[before:], []byte("push-cert")) {
			return nil, errSigned
		}
	}
}
