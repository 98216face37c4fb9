package gitgate

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// lister asks an https upstream for its refs (gitprotocol-v2(5), ls-refs) on a connection that
// stays open. git would start two programs, shake hands and ask twice for the same each time,
// and every fetch of the bottle's waits for it.
type lister struct {
	client   *http.Client
	url      string
	basic    string // the credential
	unspoken bool   // the upstream does not speak the protocol's second version
}

// errUnspoken is that of an upstream which has to be asked by git.
var errUnspoken = errors.New("it does not list its refs in this way")

// maxRefsAnswer bounds what an upstream may say of its refs, in bytes.
const maxRefsAnswer = 64 << 20

func newLister(r control.GitRepository, c control.GitConfig) *lister {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(c.Roots))
	roots.AppendCertsFromPEM([]byte(r.CA))
	return &lister{
		url: strings.TrimRight(r.Upstream, "/") + "/" + uploadPack, basic: basic(r),
		client: &http.Client{
			Timeout: 2 * time.Minute,
			Transport: &http.Transport{
				TLSClientConfig: &tls.Config{RootCAs: roots}, TLSHandshakeTimeout: 30 * time.Second, IdleConnTimeout: 5 * time.Minute, MaxIdleConnsPerHost: 1,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// list asks. Only branches and tags are of interest, and what HEAD is.
func (l *lister) list(ctx context.Context) (policy.Refs, error) {
	if l.unspoken {
		return policy.Refs{}, errUnspoken
	}
	body := packet("command=ls-refs\n") + "0001" + packet("symrefs\n") + packet("ref-prefix HEAD\n") + packet("ref-prefix refs/heads/\n") + packet("ref-prefix refs/tags/\n") + "0000"
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url, strings.NewReader(body))
	if err != nil {
		return policy.Refs{}, err
	}
	request.Header.Set("Content-Type", "application/x-git-upload-pack-request")
	request.Header.Set("Accept", "application/x-git-upload-pack-result")
	request.Header.Set("Git-Protocol", "version=2")
	request.Header.Set("User-Agent", "git/2.39 (bot-bottle)") // some servers answer nothing else
	if l.basic != "" {
		request.Header.Set("Authorization", "Basic "+l.basic)
	}
	answer, err := l.client.Do(request)
	if err != nil {
		return policy.Refs{}, &gitError{"ls-refs", err, err.Error()}
	}
	defer func() { _ = answer.Body.Close() }()
	switch {
	case answer.StatusCode == http.StatusOK && answer.Header.Get("Content-Type") == "application/x-git-upload-pack-result":
		refs, err := readRefs(bufio.NewReader(io.LimitReader(answer.Body, maxRefsAnswer)))
		l.unspoken = errors.Is(err, errUnspoken)
		if err == nil && len(refs.IDs) == 0 {
			err = errUnspoken // an empty repository, or a misunderstanding that would empty the mirror
		}
		return refs, err
	case answer.StatusCode >= 300 && answer.StatusCode < 500 && answer.StatusCode != http.StatusTooManyRequests:
		// What git makes of it: some of these are how an old server says that it does not understand.
		return policy.Refs{}, errUnspoken
	}
	return policy.Refs{}, &gitError{"ls-refs", fmt.Errorf("HTTP %d", answer.StatusCode), fmt.Sprintf("it answers HTTP %d", answer.StatusCode)}
}

// packet is a line as git sends it (gitprotocol-common(5), pkt-line).
func packet(s string) string { return fmt.Sprintf("%04x%s", len(s)+4, s) }

// readRefs reads "id name attribute…" lines until a flush packet. What is not an answer to
// ls-refs is errUnspoken.
func readRefs(r *bufio.Reader) (policy.Refs, error) {
	refs := policy.Refs{IDs: make(map[string]string), Symbolic: make(map[string]string)}
	for {
		line, err := readPacket(r)
		if err != nil {
			return policy.Refs{}, err
		}
		if line == "" {
			return refs, nil
		}
		fields := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		if len(fields) < 2 || !objectName(fields[0]) {
			return policy.Refs{}, errUnspoken
		}
		addRef(&refs, fields[0], fields[1], fields[2:])
	}
}

// addRef adds one ref as parseRefs does.
func addRef(refs *policy.Refs, id, name string, attributes []string) {
	to := ""
	for _, a := range attributes {
		if target, ok := strings.CutPrefix(a, "symref-target:"); ok {
			to = target
		}
	}
	switch {
	case name == "HEAD":
		refs.Default = to
	case !strings.HasPrefix(name, "refs/heads/") && !strings.HasPrefix(name, "refs/tags/"):
	default:
		if refs.IDs[name] = id; to != "" {
			refs.Symbolic[name] = to
		}
	}
}

func objectName(s string) bool {
	raw, err := hex.DecodeString(s)
	return err == nil && (len(raw) == 20 || len(raw) == 32)
}

// readPacket reads one line; "" is a flush packet.
func readPacket(r *bufio.Reader) (string, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return "", errUnspoken
	}
	size, err := strconv.ParseUint(string(head[:]), 16, 16)
	switch {
	case err != nil || size > 0 && size <= 4:
		return "", errUnspoken
	case size == 0:
		return "", nil
	}
	line := make([]byte, size-4)
	if _, err := io.ReadFull(r, line); err != nil {
		return "", errUnspoken
	}
	return string(line), nil
}
