package manifest

import "regexp"

// digested is an image that is named by its digest: nobody can put another one in its place.
var digested = regexp.MustCompile(`^[a-z0-9][A-Za-z0-9._/:-]*@sha256:[0-9a-f]{64}$`)

func (l *loader) provider(file string, v *value) Provider {
	p := Provider{
		Template: text(v.get("template")), Dockerfile: l.expand(text(v.get("dockerfile"))), Image: text(v.get("image")), Archive: l.expand(text(v.get("archive"))),
		Offline: text(v.get("build").get("network")) == "none",
	}
	if p.Template == "" {
		p.Template = "claude"
	}
	if p.Archive != "" && (p.Image != "" || p.Dockerfile != "") {
		l.problems.add(file, v.get("archive").line, "an archive is run as it is: leave archive, or image and dockerfile, out")
	}
	switch {
	case p.Image == "":
	case p.Dockerfile != "":
		l.problems.add(file, v.get("image").line, "an image is run as it is: leave image or dockerfile out")
	case !digested.MatchString(p.Image):
		l.problems.add(file, v.get("image").line, "an image is named by its digest, NAME@sha256:…: a tag can be moved")
	}
	return p
}
