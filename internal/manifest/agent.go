package manifest

import (
	"strings"
	"unicode"
)

func (l *loader) agents(documents []document, repository bool) {
	shape := agentShape()
	for _, d := range documents {
		before := len(l.problems)
		check(d.root, &shape, "", &l.problems)
		if d.root == nil || len(l.problems) > before {
			continue
		}
		a := Agent{
			Name: d.name, File: d.file, Repository: repository,
			Bottle: text(d.root.get("bottle")), Skills: texts(d.root.get("skills")), Args: texts(d.root.get("args")), Prompt: d.body,
		}
		if id := d.root.get("git_identity"); id != nil {
			a.GitIdentity = GitIdentity{Name: text(id.get("name")), Email: text(id.get("email"))}
			l.oneLine(id.get("name"), "git_identity.name")
			l.oneLine(id.get("email"), "git_identity.email")
		}
		if l.m.seen["bottle "+a.Bottle] == "" {
			l.problems.add(d.file, d.root.get("bottle").line, "there is no bottle %q%s", a.Bottle, DidYouMean(a.Bottle, l.m.names("bottle")))
		}
		l.m.Agents[d.name] = a
	}
}

// oneLine refuses what would break out of a line: of a commit, of a header.
func (l *loader) oneLine(v *value, name string) {
	if strings.ContainsFunc(text(v), unicode.IsControl) {
		l.problems.add(v.file, v.line, "%s must be one line", name)
	}
}
