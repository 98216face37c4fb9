package policy

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Explanation is what would be decided about a request, and every rule's part in it.
// Nothing was sent, and nothing counted.
type Explanation struct {
	Method     string   `json:"method"`
	URL        string   `json:"url"` // as it was asked for
	Verdict    Verb     `json:"verdict"`
	Reason     string   `json:"reason,omitempty"`     // of a refusal
	Rule       string   `json:"rule,omitempty"`       // that decided: "route 2", "deny 1 of route 2"
	Target     string   `json:"target,omitempty"`     // path and query as they would go out
	Credential string   `json:"credential,omitempty"` // name of the secret that would be put on
	Scheme     Scheme   `json:"scheme,omitempty"`     // how
	Limits     []string `json:"limits,omitempty"`     // that the request would count towards
	Steps      []Step   `json:"steps"`
}

// Verb is what becomes of a request.
type Verb string

const (
	Allowed  Verb = "allowed"
	Refused  Verb = "refused"
	NeedBody Verb = "needs body" // it depends on the body, which was not given
	Carried  Verb = "carried"    // as bytes that nobody looks at, protocol tcp
)

// Step is one rule's part, in the order in which rules are looked at.
type Step struct {
	Rule    string `json:"rule"`
	Text    string `json:"text"`
	Outcome string `json:"outcome"` // why it does not match, or what it decides
	Decides bool   `json:"decides,omitempty"`
}

// Explain says what egress would decide about a request for a URL: https, http, or
// tcp://host:port for a connection. body is nil when it is not known.
func (s *Set) Explain(method, rawURL string, body *Body) Explanation {
	e := Explanation{Method: method, URL: rawURL, Verdict: Refused}
	r, err := parseURL(method, rawURL)
	if err != nil {
		e.Reason = err.Error()
		return e
	}
	r.Body = body
	e.Target = r.Target
	seen := make(map[*rule]finding)
	told := func(rule *rule, f finding) { seen[rule] = f }
	if r.Protocol != HTTP { // it comes through a tunnel, which is decided by itself
		d := s.connect(r.Host, r.Port, told)
		if r.Protocol == TCP || d.Allowed && d.Route.Protocol != HTTPS {
			s.explainConnection(&e, r, d)
			s.steps(&e, seen)
			return e
		}
		clear(seen)
	}
	d := s.decide(r, told)
	e.Reason = d.Reason
	switch {
	case d.Allowed:
		s.explainRoute(&e, d)
	case d.NeedBody > 0:
		e.Verdict = NeedBody
	}
	s.steps(&e, seen)
	return e
}

// explainConnection is the end where no request can be seen.
func (s *Set) explainConnection(e *Explanation, r Request, d Decision) {
	e.Reason, e.Target = d.Reason, ""
	switch {
	case d.Allowed && d.Route.Protocol == TCP:
		s.explainRoute(e, d)
		e.Verdict = Carried
	case d.Allowed && r.Protocol == TCP:
		e.Reason = fmt.Sprintf("route %d takes requests of protocol %s, no other bytes", d.Rule+1, d.Route.Protocol)
	case d.Allowed:
		e.Reason = fmt.Sprintf("route %d carries connections to %s:%d as protocol %s", d.Rule+1, r.Host, r.Port, d.Route.Protocol)
	}
}

// explainRoute says what goes with a route that allows.
func (s *Set) explainRoute(e *Explanation, d Decision) {
	e.Verdict, e.Rule = Allowed, s.routes[d.Rule].name
	if auth := d.Route.Auth; auth != nil {
		e.Credential, e.Scheme = auth.Secret, auth.Scheme
	}
	if d.Route.Limits != nil {
		e.Limits = append(e.Limits, d.Route.Limits.String()+" for this route")
	}
	if s.policy.Limits != nil {
		e.Limits = append(e.Limits, s.policy.Limits.String()+" for the bottle")
	}
}

// steps lists every rule with its part.
func (s *Set) steps(e *Explanation, seen map[*rule]finding) {
	for i := range s.denies {
		e.step(&s.denies[i], s.denyText(i), seen)
	}
	for i := range s.routes {
		e.step(&s.routes[i], s.policy.Routes[i].String(), seen)
	}
}

func (e *Explanation) step(r *rule, text string, seen map[*rule]finding) {
	step := Step{Rule: r.name, Text: text}
	f, ok := seen[r]
	switch {
	case !ok:
		step.Outcome = "not looked at"
	case f.answer == unread:
		step.Outcome = "the body decides"
	case f.answer == unclear && r.deny:
		step.Outcome, step.Decides = "refuses it, since it may be meant: "+f.why, true
	case f.answer == yes && r.deny:
		step.Outcome, step.Decides = "refuses it", true
	case f.answer == yes:
		step.Outcome, step.Decides = "matches", e.Verdict == Allowed || e.Verdict == Carried
	default:
		step.Outcome = r.why(f)
	}
	if step.Decides {
		e.Rule = r.name
	}
	e.Steps = append(e.Steps, step)
}

// denyText is a deny rule's line, those of the policy first.
func (s *Set) denyText(i int) string {
	if i < len(s.policy.Deny) {
		return s.policy.Deny[i].String()
	}
	i -= len(s.policy.Deny)
	for _, r := range s.policy.Routes {
		if i < len(r.Deny) {
			d := r.Deny[i]
			d.Host, d.Port = r.Host, r.Port
			return d.String()
		}
		i -= len(r.Deny)
	}
	return ""
}

// parseURL makes of a URL what egress makes of the request for it.
func parseURL(method, raw string) (Request, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return Request{}, fmt.Errorf("%q is not a URL", raw)
	}
	r := Request{Protocol: Protocol(u.Scheme), Host: u.Hostname(), Method: method, Target: u.RequestURI()}
	switch {
	case u.Opaque != "" || u.Host == "":
		return r, fmt.Errorf("%q is not a URL such as https://host/path", raw)
	case u.User != nil:
		return r, errors.New("the URL holds a user, which no request may")
	case strings.Contains(raw, "#"):
		return r, errors.New("the URL holds a fragment, which is never sent")
	}
	r.Port, err = portOf(u)
	if err == nil {
		_, err = ParseHost(r.Host)
	}
	return r, err
}

func portOf(u *url.URL) (int, error) {
	switch {
	case u.Scheme != string(HTTPS) && u.Scheme != string(HTTP) && u.Scheme != string(TCP):
		return 0, fmt.Errorf("protocol %q is none of https, http, tcp", u.Scheme)
	case strings.HasSuffix(u.Host, ":") || u.Port() == "" && u.Scheme == string(TCP):
		return 0, errors.New("the URL names no port")
	case u.Port() == "" && u.Scheme == string(HTTPS):
		return 443, nil
	case u.Port() == "":
		return 80, nil
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("port %s is not between 1 and 65535", u.Port())
	}
	return int(port), nil
}

// String is the explanation as text, a line for each rule.
func (e Explanation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", plainText(e.Method), plainText(e.URL))
	width := 0
	for _, s := range e.Steps {
		width = max(width, len(s.Rule))
	}
	for _, s := range e.Steps {
		mark := " "
		if s.Decides {
			mark = "*"
		}
		fmt.Fprintf(&b, "%s %-*s  %s: %s\n", mark, width, s.Rule, plainText(s.Text), plainText(s.Outcome))
	}
	b.WriteString(e.conclusion())
	return b.String()
}

func (e Explanation) conclusion() string {
	switch e.Verdict {
	case Allowed, Carried:
		text := "allowed by " + e.Rule
		if e.Verdict == Carried {
			text += ", as bytes that are not inspected"
		}
		if e.Credential != "" {
			text += fmt.Sprintf(", with %s (%s)", plainText(e.Credential), e.Scheme)
		}
		for _, l := range e.Limits {
			text += "\nup to " + l
		}
		return text + "\n"
	case NeedBody:
		return "needs the body: " + plainText(e.Reason) + "\n"
	}
	return "refused: " + plainText(e.Reason) + "\n"
}

// plainText is safe for a terminal.
func plainText(s string) string {
	quoted := strconv.QuoteToGraphic(s)
	if strings.ReplaceAll(strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`), `\\`, `\`) == s {
		return s
	}
	return quoted
}
