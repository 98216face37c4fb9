package image

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// BuildError is a build that failed, with the end of what the failing step printed. The
// text may come from a repository's Dockerfile: it is not safe for a terminal as it is.
type BuildError struct {
	Ref, Step, Reason string
	Output            []string
}

func (e *BuildError) Error() string {
	lines := append([]string{fmt.Sprintf("cannot build image %s: %s", e.Ref, e.Reason)}, e.Output...)
	return strings.Join(lines, "\n")
}

// Hint says what to do.
func (e *BuildError) Hint() string {
	all := strings.ToLower(e.Error())
	switch {
	case strings.Contains(all, "no space left on device"):
		return "the engine's disk is full: docker system df shows what uses it"
	case word(e.Step) == "FROM" && strings.Contains(e.Step, Base):
		return "the engine could not fetch the base image " + Base + ": check its network, or run scripts/setup, which can build it"
	case strings.Contains(all, "self_signed_cert") || strings.Contains(all, "certificate"):
		return "a proxy inspects TLS here: name its certificates with SSL_CERT_FILE or NODE_EXTRA_CA_CERTS"
	case strings.Contains(all, "did not match"):
		return "what was downloaded is not what is pinned: check npm's registry and the proxies on the way to it"
	case strings.HasPrefix(e.Ref, LayerName+":"):
		return "what was asked for cannot be built as it is: reject it with what you see here as the reason, or change it with --edit"
	case strings.HasPrefix(e.Ref, customName+":") && word(e.Step) == "FROM":
		return "the engine could not fetch what it is built on: check its name, and the engine's network. From a private registry it comes after docker login; what a Dockerfile is built on, after docker pull"
	case strings.HasPrefix(e.Ref, customName+":") && (strings.Contains(all, "requires buildkit") || strings.Contains(e.Reason, unreadable)):
		return "correct the bottle's own Dockerfile, then try again: the engine's classic builder, which builds it, knows no RUN --mount, COPY --link or COPY --chmod, and no here-documents"
	case strings.Contains(e.Step, contractMark):
		return "docs/providers.md says what an image must have to be a bottle's"
	case strings.HasPrefix(e.Ref, customName+":"):
		return "a step of the bottle's own Dockerfile failed: correct it, then try again"
	}
	return "check the engine's network (HTTP_PROXY and HTTPS_PROXY are passed on, and must be reachable from a container), then try again"
}

// unreadable is what is said of a Dockerfile of the operator's that the engine cannot read.
const unreadable = "the bottle's own Dockerfile cannot be read"

var parseError = regexp.MustCompile(`dockerfile parse error(?: on)? line (\d+): (.*)`)

// unread is why the engine has not begun a build. Of a Dockerfile of the operator's it counts the line
// that was put before it (onBase).
func unread(ref string, err error) error {
	match := parseError.FindStringSubmatch(err.Error())
	if match == nil || !strings.HasPrefix(ref, customName+":") {
		return fmt.Errorf("cannot build image %s: %w", ref, err)
	}
	line, _ := strconv.Atoi(match[1]) // of digits
	return &BuildError{Ref: ref, Reason: fmt.Sprintf("%s: line %d: %s", unreadable, line-1, short(match[2]))}
}

var exitLine = regexp.MustCompile(`returned a non-zero code: (\d+)`)

// reason fits the engine's message on a line: for a command that failed it repeats all
// of the command first.
func reason(step, message string) string {
	if strings.Contains(step, contractMark) && strings.Contains(message, "returned a non-zero code") {
		return "it does not fit a bottle"
	}
	if match := exitLine.FindStringSubmatch(message); match != nil {
		return fmt.Sprintf("a step exited with %s: %s", match[1], short(step))
	}
	line, _, _ := strings.Cut(strings.TrimSpace(message), "\n")
	return cut(line, 250) // the cause is often at its end
}
