package policy

import (
	"fmt"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/dlp"
)

// String is one line for people: where a route leads, what it allows, what it puts on.
func (r Route) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s://%s:%d", r.Protocol, r.Host, r.Port)
	b.WriteString(conditionText(r.Methods, r.Paths, r.Query, r.Body))
	if r.Auth != nil {
		fmt.Fprintf(&b, " with %s", r.Auth.Secret)
	}
	if r.Address != "" {
		fmt.Fprintf(&b, " at %s", r.Address)
	}
	if r.Private {
		b.WriteString(" (may be a private address)")
	}
	if r.Limits != nil {
		fmt.Fprintf(&b, " up to %s", r.Limits)
	}
	if r.LogPath == LogFull || r.LogPath == LogNone {
		fmt.Fprintf(&b, " (paths in the log: %s)", r.LogPath)
	}
	if len(r.Scan) > 0 {
		fmt.Fprintf(&b, " (secrets: %s)", dlp.ActionText(r.Scan))
	}
	if r.Pipelock != nil {
		fmt.Fprintf(&b, " (pipelock: %s)", r.Pipelock)
	}
	return b.String()
}

// String is a few words for people.
func (p Pipelock) String() string {
	if p.NoAnswers {
		p.NoAnswers = false
		return p.String() + ", answers are not looked at"
	}
	switch {
	case p.Off:
		return "off"
	case p.Budget == 0 && p.Over == OverAllow:
		return "more than it may look at is allowed"
	case p.Over == OverAllow:
		return fmt.Sprintf("more than %d bytes are allowed unseen", p.Budget)
	case p.Budget == 0:
		return "on"
	}
	return fmt.Sprintf("up to %d bytes", p.Budget)
}

// String is one line for people.
func (d Deny) String() string {
	host, port := d.Host, ""
	if host == "" {
		host = "any host"
	}
	if d.Port != 0 {
		port = fmt.Sprintf(":%d", d.Port)
	}
	return host + port + conditionText(d.Methods, d.Paths, d.Query, d.Body)
}

func conditionText(methods, paths []string, query, body map[string]string) string {
	var b strings.Builder
	if len(methods) > 0 {
		b.WriteString(" " + strings.Join(methods, ","))
	}
	if len(paths) > 0 {
		b.WriteString(" " + strings.Join(paths, " "))
	}
	for _, c := range conditions(query) {
		fmt.Fprintf(&b, " query %s", c)
	}
	for _, c := range conditions(body) {
		fmt.Fprintf(&b, " body %s", c)
	}
	return b.String()
}
