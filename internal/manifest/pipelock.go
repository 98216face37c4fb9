package manifest

import (
	"regexp"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// versioned is a version that can be compared with another.
var versioned = regexp.MustCompile(`^\d{1,6}\.\d{1,6}(\.\d{1,6})?$`)

func (l *loader) pipelock(v *value) *Pipelock {
	if v == nil || v.kind != mapKind && !truth(v) {
		return nil
	}
	p := &Pipelock{Image: text(v.get("image")), Binary: l.path(v.get("binary")), MinVersion: text(v.get("min_version")), Answers: looksAtAnswers(v)}
	switch {
	case p.Image != "" && p.Binary != "":
		l.problems.add(v.file, v.line, "pipelock is an image or a binary, not both")
	case p.Image != "" && !digested.MatchString(p.Image):
		l.problems.add(v.file, v.get("image").line, "pipelock: an image is named by its digest, NAME@sha256:…: a tag can be moved")
	}
	if at := v.get("min_version"); at != nil && !versioned.MatchString(p.MinVersion) {
		l.problems.add(v.file, at.line, "pipelock: min_version %q is not one such as 2.3 or 2.3.1 (put it in quotes)", p.MinVersion)
	}
	return p
}

// routePipelock: false turns it off for the route, true says nothing.
func routePipelock(v *value) *policy.Pipelock {
	switch {
	case v == nil || v.kind != mapKind && truth(v):
		return nil
	case v.kind != mapKind:
		return &policy.Pipelock{Off: true}
	}
	return &policy.Pipelock{Budget: sizeOf(v.get("budget")), Over: policy.Over(text(v.get("over"))), NoAnswers: !looksAtAnswers(v)}
}

// looksAtAnswers is so unless it is said not to be.
func looksAtAnswers(v *value) bool {
	at := v.get("answers")
	return at == nil || truth(at)
}
