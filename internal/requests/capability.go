package requests

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Image is a change of the bottle's image: packages of its distribution, and lines of a
// Dockerfile that come after it. It is all that decides what is built: the operator is shown every
// byte.
type Image struct {
	Packages   []string `json:"packages,omitempty"`
	Dockerfile string   `json:"dockerfile,omitempty"`
}

// Bounds of a change of the image.
const (
	maxPackages = 32
	maxLines    = 60
	maxLine     = 500
)

// packageName is Debian's syntax (policy, 5.6.1), less a sign at the end, which apt-get would
// take for "remove" or "install"; g++ and its like stay.
var packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]*([a-z0-9.]|\+\+)$`)

// takeImage checks a change of the image.
func (r *Request) takeImage(a Ask) error {
	if a.Image == nil || len(a.Image.Packages) == 0 && strings.TrimSpace(a.Image.Dockerfile) == "" {
		return invalid("name packages, or give the lines of a Dockerfile")
	}
	change := Image{Packages: slices.Clone(a.Image.Packages), Dockerfile: strings.Trim(a.Image.Dockerfile, "\n")}
	slices.Sort(change.Packages)
	if change.Packages = slices.Compact(change.Packages); len(change.Packages) > maxPackages {
		return invalid("name at most %d packages", maxPackages)
	}
	for _, name := range change.Packages {
		if len(name) > 100 || !packageName.MatchString(name) {
			return invalid("%q is no name of a Debian package: letters, digits, + - and . only, without a version", clean(name))
		}
	}
	if err := checkDockerfile(change.Dockerfile); err != nil {
		return err
	}
	r.Image = &change
	return nil
}

// checkDockerfile takes lines that read the same for everybody, and only the instructions by
// which an image gets more: none that brings in another image or files from elsewhere, or that
// changes who and what runs.
func checkDockerfile(text string) error {
	lines := strings.Split(text, "\n")
	if len(lines) > maxLines {
		return invalid("a Dockerfile's change is at most %d lines", maxLines)
	}
	continued := false
	for i, line := range lines {
		if len(line) > maxLine || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
			return invalid("line %d is longer than %d characters, or holds others than plain ASCII (write spaces for tabs)", i+1, maxLine)
		}
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case word == "" && continued || continued && strings.HasPrefix(word, "#"):
			return invalid("line %d: an empty line or a comment within an instruction is read in two ways", i+1)
		case word == "" || strings.HasPrefix(word, "#") || continued:
		case strings.EqualFold(word, "RUN") && strings.HasPrefix(strings.TrimSpace(rest), "--"):
			return invalid("line %d: RUN takes no options here", i+1)
		case !strings.EqualFold(word, "RUN") && !strings.EqualFold(word, "ENV"):
			return invalid("line %d: only RUN and ENV are taken, not %s: fetch files in a RUN, with their checksum", i+1, clean(word))
		}
		if strings.Contains(line, "<<") {
			return invalid("line %d: here-documents are not taken", i+1)
		}
		open := strings.HasSuffix(strings.TrimRight(line, " "), `\`)
		if open && (strings.HasSuffix(line, " ") || strings.HasSuffix(line, `\\`)) {
			return invalid("line %d: end it with one backslash and nothing behind, or with none", i+1)
		}
		continued = open && (continued || !strings.HasPrefix(word, "#"))
	}
	if continued {
		return invalid("the last line is not the end of its instruction")
	}
	return nil
}

// showImage says what would be built.
func (s *Shown) showImage() {
	for _, name := range s.Image.Packages {
		s.Delta = append(s.Delta, "+ package "+name)
	}
	if s.Image.Dockerfile != "" {
		for line := range strings.SplitSeq(s.Image.Dockerfile, "\n") {
			s.Delta = append(s.Delta, "+ "+line)
		}
	}
	s.Delta = append(s.Delta, "for as long as there is the bottle, which is restarted")
	s.imageRisks()
}

var (
	pipedShell = regexp.MustCompile(`(?i)\b(curl|wget)\b[^;&\n]*\|\s*(\S*/)?(sudo\s+|env\s+)*(\S*/)?((ba|da|z|k)?sh|python[0-9.]*|perl|node|ruby)\b|\b(ba|da|z)?sh\b\s+(-c\s+)?["']?(<\(|\$\()\s*(curl|wget)`)
	hidden     = regexp.MustCompile(`(?i)base64\s+(-d|--decode)|\bxxd\s+-r|\beval\b|\\x[0-9a-f]{2}|openssl\s+enc`)
	urlHost    = regexp.MustCompile(`(?i)\b(https?|ftp|git|ssh)://(?:[^\s/@'"]*@)?([^\s/'"\\;|&)]+)`)
)

// imageRisks are notes by rule, the worst first.
func (s *Shown) imageRisks() {
	note := func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); !slices.Contains(s.Risks, text) {
			s.Risks = append(s.Risks, text)
		}
	}
	text := strings.ReplaceAll(s.Image.Dockerfile, "\\\n", " ")
	if pipedShell.MatchString(text) {
		note("what is downloaded is run, and nobody has read it")
	}
	if hidden.MatchString(text) {
		note("it holds something coded: what is run is not what is read")
	}
	for _, match := range urlHost.FindAllStringSubmatch(text, -1) {
		note("it reaches %s, whatever the bottle may reach", clean(match[2]))
		if strings.EqualFold(match[1], "http") || strings.EqualFold(match[1], "ftp") || strings.EqualFold(match[1], "git") {
			note("%s:// is not encrypted: whoever carries it can change what is built", strings.ToLower(match[1]))
		}
	}
	if s.Image.Dockerfile != "" {
		note("its RUN lines are the agent's: they run as root while the image is built, on your engine, with its network: your local network as well")
	}
	for line := range strings.SplitSeq(text, "\n") {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.EqualFold(name, "ENV") {
			note("every program in the bottle would have %s", clean(value))
		}
	}
	if len(s.Image.Packages) > 0 {
		note("packages come from the image's own sources; what they bring along runs as root while it is built")
	}
	note("the bottle is restarted: what runs in it ends, its home, workspace and conversation stay")
}
