package egress

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/dlp"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// Bounds of what is held of bodies while it is decided about them.
const (
	maxWhole = 8 << 20  // of a body that is searched whole, so that something can be taken out
	maxHeld  = 64 << 20 // of all of them

	holdPatience = 30 * time.Second // that its client may take, and for what is to come so much longer:
	minRate      = 64 << 10         // as it takes at so many bytes a second
)

// ahead is what was read of a body before the request goes out.
type ahead struct {
	data  []byte
	whole bool // there is no more
	done  func()
}

// wants is how much of an allowed body is to be read ahead: all of one that is not too
// long, and of a conversation with a model also where its length is not known. Who asks
// whether to send it at all (RFC 9110 §10.1.1) is answered by the upstream, not by us.
func (x *exchange) wants(r *http.Request, guarded bool) int64 {
	most := x.decision.NeedBody
	switch {
	case guarded && r.ContentLength <= maxWhole && len(codings(r.Header)) == 0:
		most = maxWhole // pipelock looks at all of it, or at nothing
	case len(codings(r.Header)) > 0 && r.ContentLength <= maxCoded:
		most = maxCoded
	case len(codings(r.Header)) > 0:
	case r.Header.Get("Expect") != "" && !x.model:
	case r.ContentLength > 0 && r.ContentLength <= maxWhole, r.ContentLength < 0 && x.model:
		most = maxWhole
	}
	return most
}

// readAhead reads up to most bytes of a body, and one more if there are any. What it takes
// of memory is free again after done: there is so much for all requests, so it is not kept for
// a client that does not send.
func (s *Server) readAhead(r *http.Request, x *exchange, most int64) (a ahead, err error) {
	a.done = func() {}
	size := most + 1
	if r.ContentLength >= 0 {
		size = min(size, r.ContentLength)
	}
	none := r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody
	coded := !none && len(codings(r.Header)) > 0
	if none || most == 0 && !coded {
		a.whole = none
		return a, nil
	}
	decoded := int64(0)
	if coded {
		decoded = maxWhole
	}
	if most == 0 {
		a.done, err = reserve(r.Context(), s.unpacked, unpacking)
		return a, err
	}
	if a.done, err = reserve(r.Context(), s.held, size+decoded); err != nil {
		return a, err
	}
	_ = x.until(time.Now().Add(s.patience + time.Duration(size)*time.Second/minRate))
	a.data, err = read(r.Body, size, r.ContentLength >= 0)
	_ = x.until(time.Time{})
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return a, &errUnsearched{"the request's body does not come, and is not waited for any longer", http.StatusRequestTimeout}
	case err != nil:
		return a, &errUnsearched{"the request's body could not be read", http.StatusBadRequest}
	}
	a.whole = int64(len(a.data)) <= most && (r.ContentLength < 0 || size == r.ContentLength)
	return a, nil
}

// read reads size bytes, or as many as there are where that is not known before.
func read(from io.Reader, size int64, known bool) ([]byte, error) {
	if !known {
		return io.ReadAll(io.LimitReader(from, size))
	}
	data := make([]byte, size)
	_, err := io.ReadFull(from, data)
	return data, err
}

// searchBody searches what was read of a body, takes out what is to be taken out, and puts
// the rest back. Where there is more of it, that is searched as it goes out.
func (s *Server) searchBody(r *http.Request, x *exchange, a ahead) error {
	q := x.search
	if len(a.data) > 0 && a.whole && len(codings(r.Header)) > 0 {
		return s.searchCoded(r, x, a)
	}
	if !a.whole && len(codings(r.Header)) > maxCodings {
		return notCoded("the body is in too many content codings")
	}
	if !a.whole {
		put(r, io.MultiReader(bytes.NewReader(a.data), r.Body))
		x.streamed = true
		return nil
	}
	if len(a.data) == 0 {
		return nil
	}
	data, err := q.whole(r.Context(), r.Header, a.data)
	if err != nil {
		return err
	}
	if len(data) != len(a.data) || &data[0] != &a.data[0] {
		if err := x.changed(r, data); err != nil {
			return err
		}
	}
	x.plain = data
	put(r, &spent{bytes.NewReader(data), a.done})
	return nil
}

// whole searches a body and returns what may go: data itself, or another one with what is
// to be taken out taken out.
func (q *search) whole(ctx context.Context, h http.Header, data []byte) ([]byte, error) {
	if err := formFields(h, notInForms(q.route.Auth)).look(data); err != nil {
		return nil, err
	}
	in := q.bodyInput(h.Get("Content-Type"))
	in.Data = data
	findings, err := q.scan(ctx, in)
	if err != nil || len(findings) == 0 {
		return data, err
	}
	if q.decide(inBody, findings) != dlp.Redact || !isText(in.ContentType) {
		return data, q.settle(inBody, findings)
	}
	in.Data = q.dlp.Redact(data, findings)
	left, err := q.scan(ctx, in)
	if err != nil {
		return nil, err
	}
	q.note(inBody, findings, dlp.Redact)
	return in.Data, q.settle(inBody, left)
}

// isText reports whether a mark can stand in a body of this type in the place of what was
// taken out, and it still is one.
func isText(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	return err == nil && (kind == "application/json" || strings.HasSuffix(kind, "+json") || kind == "application/x-ndjson" || strings.HasPrefix(kind, "text/"))
}

// changed makes the head fit a body of which something was taken out, and asks the policy
// again if it decided by the body.
func (x *exchange) changed(r *http.Request, data []byte) error {
	if r.ContentLength >= 0 {
		r.ContentLength = int64(len(data))
	}
	r.Header.Del("Content-Encoding")
	for _, digest := range []string{"Content-Md5", "Digest", "Content-Digest", "Repr-Digest"} {
		r.Header.Del(digest)
	}
	if x.asked.Body == nil {
		return nil
	}
	x.asked.Body = bodyOf(r, data)
	d := x.rules.set.Request(x.asked)
	if !d.Allowed || d.Rule != x.decision.Rule {
		return &errUnsearched{reason: "without the secret in its body, the request is another one: " + d.Reason}
	}
	return nil
}

// bodyOf is what the policy decides by.
func bodyOf(r *http.Request, data []byte) *policy.Body {
	return &policy.Body{Type: r.Header.Values("Content-Type"), Encoding: r.Header.Values("Content-Encoding"), Data: data[:min(len(data), policy.MaxBody+1)]}
}

// put makes from the request's body.
func put(r *http.Request, from io.Reader) {
	r.Body = struct {
		io.Reader
		io.Closer
	}{from, r.Body}
}

// spent calls done once all of it was read.
type spent struct {
	*bytes.Reader
	done func()
}

func (s *spent) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if s.Len() == 0 {
		s.done()
	}
	return n, err
}

// searched reads through a body or a connection. What is found ends it before the last
// piece of a secret has gone out: the beginning may have left, the whole never has.
type searched struct {
	io.ReadCloser
	look  func(p []byte) error
	end   func() error // asked where the body ends
	close func()
}

func (s *searched) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if n > 0 {
		if found := s.look(p[:n]); found != nil {
			return 0, found
		}
	}
	if err == io.EOF {
		if cut := s.end(); cut != nil {
			return 0, cut
		}
	}
	return n, err
}

// Close implements io.Closer.
func (s *searched) Close() error {
	s.close()
	return s.ReadCloser.Close()
}

// stream searches a body as it is read, decoded where its headers say so.
func (q *search) stream(ctx context.Context, where part, h http.Header, body io.ReadCloser) *searched {
	in := q.bodyInput(h.Get("Content-Type"))
	in.ContentEncoding = strings.Join(codings(h), ",")
	look, t, err := q.pieces(ctx, where, in)
	if err != nil {
		return &searched{body, func([]byte) error {
			return notCoded("a body in the content coding %q cannot be looked into", in.ContentEncoding)
		}, func() error { return nil }, func() {}}
	}
	t.Watch(formFields(h, notInForms(q.route.Auth)).look)
	end := func() error {
		if t.End() != nil {
			return notCoded("the body is not in the content coding that it names")
		}
		return nil
	}
	return &searched{body, look, end, t.Close}
}

// pieces searches what comes in pieces; each may go on when look has returned nil. Close
// the stream.
func (q *search) pieces(ctx context.Context, where part, in dlp.Input) (look func(p []byte) error, t *dlp.Stream, err error) {
	t, err = q.dlp.NewStream(in)
	if err != nil {
		return nil, nil, err
	}
	return func(p []byte) error {
		done, err := q.turn(ctx)
		if err != nil {
			return err
		}
		findings, err := t.Write(ctx, p)
		done()
		if found := q.settle(where, findings); found != nil {
			return found
		}
		return unsearchable(ctx, err)
	}, t, nil
}
