package egress

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/dlp"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// withoutOptions is a head without what Connection takes off on the way (RFC 9110 §7.6.1):
// what is decided on is what is sent. Those about an upgrade stay, to be judged.
func withoutOptions(h http.Header) http.Header {
	if len(h["Connection"]) == 0 {
		return h
	}
	taken := http.Header{}
	for option := range strings.SplitSeq(strings.Join(h["Connection"], ","), ",") {
		name := http.CanonicalHeaderKey(strings.TrimSpace(option))
		if _, ok := h[name]; ok && name != "Upgrade" && name != "Http2-Settings" && name != "Te" && name != "Connection" {
			taken[name] = nil
		}
	}
	if len(taken) == 0 {
		return h
	}
	rest := h.Clone()
	for name := range taken {
		delete(rest, name)
	}
	return rest
}

// errUnreplaced says that the route's own placeholder stands where injection does not
// replace it: sent like that the request could only fail, and nobody would know why
// (ATTACKS C6).
type errUnreplaced struct{ reason string }

func (e *errUnreplaced) Error() string { return e.reason }

// head searches a request's line and headers. What injection takes off or replaces does
// not leave, so it may hold the route's own placeholder, and tokens; the bottle's other
// secrets are looked for everywhere.
func (q *search) head(ctx context.Context, r *http.Request, s secrets) error {
	text, ok := q.texts.Get().(*[]byte)
	if !ok {
		text = new([]byte)
	}
	defer q.texts.Put(text)
	*text = q.headText((*text)[:0], r)
	findings, err := q.scan(ctx, dlp.Input{Host: q.host, Kind: dlp.Header, Data: *text, Memory: q.memory})
	if err != nil {
		return err
	}
	if known := slices.DeleteFunc(slices.Clone(findings), q.maybeReplaced); len(known) > 0 {
		return q.settle(inHead, known)
	}
	auth := q.route.Auth
	if auth == nil {
		return q.settle(inHead, findings)
	}
	if len(findings) == 0 && auth.Scheme != policy.Placeholder {
		return nil
	}
	rest, err := s.bare(r, auth)
	if err != nil {
		return err
	}
	if findings, err = q.scan(ctx, dlp.Input{Host: q.host, Kind: dlp.Header, Data: q.headText(nil, rest)}); err != nil {
		return err
	}
	if slices.ContainsFunc(findings, func(f dlp.Finding) bool { return f.Rule == dlp.RulePlaceholder }) {
		return &errUnreplaced{fmt.Sprintf("the placeholder of secret %s stands where the route's credential does not go", auth.Secret)}
	}
	return q.settle(inHead, findings)
}

// maybeReplaced reports whether what was found may be gone after injection.
func (q *search) maybeReplaced(f dlp.Finding) bool {
	return f.Rule == dlp.RulePlaceholder && f.Name == q.own() || f.Rule != dlp.RulePlaceholder && f.Rule != dlp.RuleKnownValue
}

// name searches the name of a host under a wildcard: whoever resolves it is told it.
func (q *search) name(ctx context.Context) error {
	if !q.wild() {
		return nil
	}
	findings, err := q.scan(ctx, dlp.Input{Host: q.host, Kind: dlp.Header, Data: q.appendName(nil), Memory: q.memory})
	if err != nil {
		return err
	}
	return q.settle(inHead, findings)
}

// appendName is the host as it is, and as what it may be made of: no name has "_", or
// labels of more than 63 letters.
func (q *search) appendName(text []byte) []byte {
	for _, name := range []string{q.host, strings.ReplaceAll(q.host, ".", ""), strings.NewReplacer(".", "", "-", "_").Replace(q.host)} {
		text = append(append(text, name...), '\n')
	}
	return text
}

// wild reports whether the bottle chose the host's name.
func (q *search) wild() bool { return strings.HasPrefix(q.route.Host, "*") }

// headText is a request's line and headers, each on a line of its own, with the host where
// the bottle chose its name. It is appended to text.
func (q *search) headText(text []byte, r *http.Request) []byte {
	if q.wild() {
		text = q.appendName(text)
	}
	text = append(append(text, r.Method...), ' ')
	text = append(append(text, r.URL.RequestURI()...), '\n')
	var room [32]string
	names := slices.AppendSeq(room[:0], maps.Keys(r.Header))
	slices.Sort(names)
	for _, name := range names {
		for _, value := range r.Header[name] {
			text = append(append(text, name...), ": "...)
			text = append(append(text, value...), '\n')
		}
	}
	return text
}
