package audit

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// Lessons are what a bottle was refused for want of a route, gathered event by event. What a
// deny rule, the scanner or a condition refused is not among them: that is meant. The zero
// value is ready. It is not for concurrent use.
type Lessons struct {
	wanted map[place]*Lesson
}

// Lesson is one place that a bottle was refused.
type Lesson struct {
	Route  policy.Route `json:"route"` // that would have let it through, and no more than that
	Times  int          `json:"times"`
	Last   time.Time    `json:"last"`
	Unsent bool         `json:"unsent,omitempty"` // only a name or a connection was asked for: methods and paths are a guess
}

type place struct {
	protocol policy.Protocol
	host     string
	port     int
}

// mostPlaces bounds what a hostile bottle can have gathered.
const mostPlaces = 1000

// Add takes an event of the log, whichever it is.
func (l *Lessons) Add(e Event) {
	if e.Service != "egress" || e.Decision != Deny || !policy.Unrouted(e.Reason) {
		return
	}
	at := place{cmp.Or(e.Protocol, policy.HTTPS), e.Host, cmp.Or(e.Port, 443)}
	if e.Kind != Request { // what would be spoken is not known yet
		at.protocol = policy.HTTPS
		if e.Port == 80 {
			at.protocol = policy.HTTP
		}
	}
	lesson := l.at(at)
	if lesson == nil {
		return
	}
	lesson.Times++
	lesson.Last = e.Time
	if e.Kind == Request {
		lesson.Unsent = false
		lesson.learn(e)
	}
}

func (l *Lessons) at(at place) *Lesson {
	if known := l.wanted[at]; known != nil {
		return known
	}
	if len(l.wanted) >= mostPlaces {
		return nil
	}
	if l.wanted == nil {
		l.wanted = make(map[place]*Lesson)
	}
	lesson := &Lesson{Route: policy.Route{Host: at.host, Protocol: at.protocol, Port: at.port}, Unsent: true}
	l.wanted[at] = lesson
	return lesson
}

// Bounds of one lesson.
const (
	mostMethods   = 16
	mostPaths     = 6 // that are listed one by one
	mostGathered  = 500
	mostBeginning = 6 // of paths, where those are too many
)

func (l *Lesson) learn(e Event) {
	add := func(list *[]string, word string, most int) {
		if word != "" && len(*list) < most && !slices.Contains(*list, word) {
			*list = append(*list, word)
		}
	}
	add(&l.Route.Methods, e.Method, mostMethods)
	add(&l.Route.Paths, pattern(e.Path), mostGathered)
}

// pattern is a path as a glob: what the log left out of it may be anything.
func pattern(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if strings.Contains(s, "…(") || strings.Contains(s, "*") {
			segments[i] = "*"
		}
	}
	return strings.Join(segments, "/")
}

// Proposals are the lessons as routes that the manifest takes, the most wanted first. What
// can be no route is left out: an address, or a name that is none.
func (l *Lessons) Proposals() []Lesson {
	var all []Lesson
	for _, lesson := range l.wanted {
		if _, err := policy.ParseHost(lesson.Route.Host); err != nil {
			continue // a pattern among them: whoever asks for one is not to have it
		}
		proposal := *lesson
		proposal.Route.Methods = methods(lesson.Route.Methods)
		proposal.Route.Paths = fewer(lesson.Route.Paths)
		if _, err := proposal.Route.Normalize(); err != nil {
			proposal.Route.Paths = nil // one of them is no glob
		}
		if normal, err := proposal.Route.Normalize(); err == nil {
			proposal.Route = normal
			all = append(all, proposal)
		}
	}
	slices.SortFunc(all, func(a, b Lesson) int {
		return cmp.Or(cmp.Compare(b.Times, a.Times), cmp.Compare(a.Route.Host, b.Route.Host), cmp.Compare(a.Route.Port, b.Route.Port), cmp.Compare(a.Route.Protocol, b.Route.Protocol))
	})
	return all
}

// methods are those that were used; where none is known, those that only read.
func methods(used []string) []string {
	if len(used) == 0 {
		return []string{"GET", "HEAD"}
	}
	return slices.Sorted(slices.Values(used))
}

// fewer lists paths one by one while they are few, else by how they begin; nil is any.
func fewer(paths []string) []string {
	if len(paths) <= mostPaths {
		return slices.Sorted(slices.Values(paths))
	}
	beginnings := make(map[string]bool)
	for _, p := range paths {
		first, _, _ := strings.Cut(strings.TrimPrefix(p, "/"), "/")
		beginnings["/"+first+"/**"] = true
	}
	if len(beginnings) > mostBeginning || beginnings["/*/**"] || beginnings["//**"] {
		return nil
	}
	return slices.Sorted(maps.Keys(beginnings))
}
