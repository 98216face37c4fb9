package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/client"
)

// buildContext collects what a build may see.
type buildContext struct {
	data bytes.Buffer
	tar  *tar.Writer
}

func (c *buildContext) add(name string, data []byte) error { return c.addMode(name, data, 0o644) }

func (c *buildContext) addMode(name string, data []byte, mode int64) error {
	if err := c.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data))}); err != nil {
		return err
	}
	_, err := c.tar.Write(data)
	return err
}

// build builds one image with the classic builder.
func (b Builder) build(ctx context.Context, ref string, say func(string), fill func(*buildContext) error) error {
	c := &buildContext{}
	c.tar = tar.NewWriter(&c.data)
	if err := errors.Join(fill(c), c.tar.Close()); err != nil {
		return fmt.Errorf("cannot build image %s: %w", ref, err)
	}
	say("building image " + ref + " (once)")
	result, err := b.Client.ImageBuild(ctx, &c.data, client.ImageBuildOptions{
		Version: build.BuilderV1, Tags: []string{ref}, Remove: true, ForceRemove: true, BuildArgs: b.arguments(),
		Labels: map[string]string{"bot-bottle.role": "image"},
	})
	if err != nil {
		return fmt.Errorf("cannot build image %s: %w", ref, err)
	}
	defer func() { _ = result.Body.Close() }()
	stages, err := watch(result.Body, ref, say)
	for _, id := range stages { // the classic builder leaves them behind, without a name
		_, _ = b.Client.ImageRemove(context.WithoutCancel(ctx), id, client.ImageRemoveOptions{PruneChildren: true})
	}
	return err
}

// arguments are what the host uses to reach the outside. The engine knows the proxy
// ones and keeps them out of the image's history.
func (b Builder) arguments() map[string]*string {
	arguments := map[string]*string{}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"} {
		if value := b.Getenv(name); value != "" {
			arguments[name] = &value
		}
	}
	if registry := b.Getenv("npm_config_registry"); registry != "" {
		arguments["NPM_REGISTRY"] = &registry
	}
	return arguments
}

// BuildError is a build that failed, with the end of what it printed.
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
	case strings.HasPrefix(e.Step, "FROM"):
		return "the engine could not fetch the base image " + Base + ": check its network, or run scripts/setup, which can build it"
	case strings.Contains(all, "self_signed_cert") || strings.Contains(all, "certificate"):
		return "a proxy inspects TLS here: name its certificates with SSL_CERT_FILE or NODE_EXTRA_CA_CERTS"
	}
	return "check the engine's network (HTTP_PROXY and HTTPS_PROXY are passed on), then try again"
}

// keepLines is how much of a failed build's output is shown.
const keepLines = 8

var stepLine = regexp.MustCompile(`^Step (\d+/\d+) : (.*)`)

var imageLine = regexp.MustCompile(`^---> ([0-9a-f]{12,64})$`)

// watch reads a build's output to its end. It returns the images of the stages that
// were built on the way to the last one.
func watch(body io.Reader, ref string, say func(string)) (stages []string, err error) {
	var step, last string
	var recent []string
	decoder := json.NewDecoder(body)
	for {
		var line struct{ Stream, Error string }
		if err := decoder.Decode(&line); errors.Is(err, io.EOF) {
			return stages, nil
		} else if err != nil {
			return stages, fmt.Errorf("cannot build image %s: %w", ref, err)
		}
		if line.Error != "" {
			return stages, &BuildError{Ref: ref, Step: step, Reason: firstLine(line.Error), Output: recent}
		}
		text := strings.TrimSpace(line.Stream)
		if match := stepLine.FindStringSubmatch(text); match != nil {
			if strings.HasPrefix(match[2], "FROM") && last != "" {
				stages = append(stages, last)
			}
			step, recent = match[2], nil
			if takesTime(step) {
				say(short("  " + match[1] + "  " + step))
			}
		} else if match := imageLine.FindStringSubmatch(text); match != nil {
			last = match[1]
		} else if text != "" {
			recent = append(recent, text)
			recent = recent[max(0, len(recent)-keepLines):]
		}
	}
}

// takesTime reports whether a step is worth a line.
func takesTime(step string) bool {
	word, _, _ := strings.Cut(step, " ")
	return slices.Contains([]string{"FROM", "RUN", "COPY", "ADD"}, strings.ToUpper(word))
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return short(line)
}

// short fits a line on a terminal.
func short(s string) string {
	if runes := []rune(s); len(runes) > 100 {
		return string(runes[:99]) + "…"
	}
	return s
}
