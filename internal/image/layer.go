package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/moby/moby/client"
)

// LayerName is the repository of all layers.
const LayerName = "bot-bottle/layer"

// Layer is a change of a bottle's image that its operator approved: packages of its
// distribution, and lines of a Dockerfile. Both were checked when they were asked for
// (package requests).
type Layer struct {
	Packages   []string
	Dockerfile string
}

// EnsureLayer builds a layer on an image. What is built is whoever's asked for it: it gets no
// file of the host, and of the host's proxies no credential. The tag is a hash of the image and the
// layer.
func (b Builder) EnsureLayer(ctx context.Context, on Image, l Layer, say func(string)) (Image, error) {
	below, err := b.Client.ImageInspect(ctx, on.ID)
	if err != nil {
		return Image{}, fmt.Errorf("cannot look for image %s: %w", on.Ref, err)
	}
	user := "root"
	if below.Config != nil && below.Config.User != "" {
		user = below.Config.User
	}
	file := l.file(on.ID, user)
	ref := LayerName + ":" + hash(file)
	return b.ensure(ctx, ref, say, func() (job, error) {
		c := newContext()
		if err := c.add("Dockerfile", file); err != nil {
			return job{}, err
		}
		sent, err := c.bytes()
		return job{context: bytes.NewReader(sent), untrusted: true}, err
	})
}

// file is the whole Dockerfile.
func (l Layer) file(on, user string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "FROM %s\n%s", on, l.Lines())
	fmt.Fprintf(&b, "USER %s\n", user)
	return []byte(b.String())
}

// Lines are the layer as it would stand in a Dockerfile.
func (l Layer) Lines() string {
	var b strings.Builder
	b.WriteString("USER root\n")
	if len(l.Packages) > 0 {
		fmt.Fprintf(&b, "RUN apt-get update \\\n && apt-get install -y --no-install-recommends -- %s \\\n && rm -rf /var/lib/apt/lists/* /var/cache/apt/*\n", strings.Join(l.Packages, " "))
	}
	if l.Dockerfile != "" {
		b.WriteString(l.Dockerfile + "\n")
	}
	return b.String()
}

// AddTo puts a layer at the end of a Dockerfile of the operator's, as the request id, approved on a
// day. What follows it, another layer or the check of the finished image, finds the user that a
// bottle runs as. A Dockerfile that reads otherwise than its lines look is refused.
func (l Layer) AddTo(dockerfile []byte, id, day string) ([]byte, error) {
	text := strings.TrimRight(string(dockerfile), " \t\r\n")
	if escapeDirective.MatchString(text) {
		return nil, errors.New("it has an escape directive, by which these lines would read otherwise")
	}
	if last := text[strings.LastIndex(text, "\n")+1:]; strings.HasSuffix(last, `\`) && !strings.HasPrefix(strings.TrimSpace(last), "#") {
		return nil, errors.New("its last line is not the end of its instruction")
	}
	if text != "" {
		text += "\n\n"
	}
	return []byte(text + approved + day + ", " + id + "\n" + l.Lines() + "USER " + user + "\n"), nil
}

// approved begins the comment above a layer in an operator's Dockerfile.
const approved = "# approved "

// escapeDirective is one of the directives that a Dockerfile may begin with.
var escapeDirective = regexp.MustCompile(`(?i)\A\s*(#[^\n]*\n\s*)*#\s*escape\s*=`)

// hasApproved reports whether a Dockerfile of the operator's has a layer of any request: it is
// built as one.
func hasApproved(dockerfile []byte) bool {
	for line := range strings.Lines(string(dockerfile)) {
		if strings.HasPrefix(strings.TrimSpace(line), approved) {
			return true
		}
	}
	return false
}

// Holds reports whether a Dockerfile of the operator's has the layer of a request (AddTo), or what
// the operator has made of it since.
func Holds(dockerfile []byte, id string) bool {
	for line := range strings.Lines(string(dockerfile)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, approved) && strings.HasSuffix(line, ", "+id) {
			return true
		}
	}
	return false
}

// options are those of a build.
func (b Builder) options(ref string, j job) client.ImageBuildOptions {
	o := client.ImageBuildOptions{
		Tags: []string{ref}, Remove: true, ForceRemove: true, BuildArgs: b.arguments(j.arguments),
		NetworkMode: j.network(), NoCache: b.NoCache, PullParent: b.Pull && !strings.HasPrefix(ref, customName+":") && !strings.HasPrefix(ref, LayerName+":"),
	}
	o.AuthConfigs = j.credentials
	if j.untrusted {
		o.BuildArgs = withoutCredentials(b.arguments(nil))
		for name, value := range j.arguments {
			o.BuildArgs[name] = &value
		}
		o.Memory, o.MemorySwap = 4<<30, 4<<30 // no other bound holds while it builds
	}
	return o
}

// withoutCredentials leaves proxies that need a password out, and all that is no proxy.
func withoutCredentials(arguments map[string]*string) map[string]*string {
	kept := make(map[string]*string)
	for name, value := range arguments {
		if !strings.HasSuffix(strings.ToLower(name), "_proxy") {
			continue
		}
		if u, err := url.Parse(*value); strings.EqualFold(name, "no_proxy") || err == nil && u.User == nil && u.Host != "" {
			kept[name] = value
		}
	}
	return kept
}
