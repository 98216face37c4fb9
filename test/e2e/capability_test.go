package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/image"
	"github.com/bot-bottle/bot-bottle/internal/requests"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// An agent asks for a change of its image. What cannot be built is not approved, and says
// why; what is approved is there after a restart, with home and workspace as they were, and again
// after the next one. Nothing of the host's goes into the build.
func TestAChangeOfTheImageIsAskedForAndBuilt(t *testing.T) {
	dockerOnly(t, "a machine keeps the image that it was made with")
	t.Parallel()
	h := open(t, standin.Options{})
	h.sleeper()
	dockerfile := filepath.Join(h.Home, "dev", "Dockerfile")
	for name, content := range map[string]string{
		"bottles/sleeper2.md": "---\nextends: sleeper\nsupervise: true\nagent_provider: {dockerfile: " + dockerfile + "}\n---\n", "agents/sleeper.md": "---\nbottle: sleeper2\n---\n", "dev/Dockerfile": "# mine\n",
	} {
		if err := h.Write(name, content); err != nil {
			t.Fatal(err)
		}
	}
	start := h.Command(t.Context(), "start", "-y", "--detach", "sleeper")
	out, err := start.Output()
	if err != nil {
		t.Fatal(err)
	}
	identity := strings.TrimSpace(string(out))
	h.removeAtEnd(identity)
	defer h.run(0, "", "rm", "-y", identity)
	defer h.run(0, "", "stop", identity)
	h.run(0, "", "exec", identity, "--", "sh", "-c", "echo kept > /workspace/kept; echo kept > ~/kept")

	bad := h.asked(h.tool(identity, "request_capability", `{"dockerfile":"RUN echo the reason; exit 3","why":"x"}`))
	if r := h.run(1, "", "approve", bad, "-y"); !strings.Contains(r.Stderr, "is not approved") || !strings.Contains(r.Stderr, "exited with 3") || !strings.Contains(r.Stderr, "the reason") {
		t.Errorf("a build that fails: %s", r.Stderr)
	}
	h.run(0, "", "reject", bad, "--reason", "it does not build")

	good := h.asked(h.tool(identity, "request_capability", `{"dockerfile":"RUN mkdir /once && id -u > /built && env >> /built\nENV BUILT=yes","why":"x"}`))
	if r := h.run(0, "", "requests"); !strings.Contains(r.Stdout, "+ RUN mkdir /once && id -u > /built && env >> /built") || !strings.Contains(r.Stdout, "they run as root while the image is built") {
		t.Errorf("shown: %s", r.Stdout)
	}
	h.run(2, "", "approve", good, "-y", "--once")
	approve := h.Command(t.Context(), "approve", good, "-y", "--always")
	approve.Env = append(approve.Env, "HTTP_PROXY=http://user:s3cr3t-proxy-word@proxy.example:3128", "npm_config_registry=https://registry.example/s3cr3t-proxy-word")
	var shown strings.Builder
	approve.Stderr = &shown
	if out, err := approve.Output(); err != nil || len(out) > 0 || !strings.Contains(shown.String(), "runs with it") || !strings.Contains(shown.String(), "+ RUN mkdir /once && id -u > /built") {
		t.Fatalf("%v: %s%s", err, out, shown.String())
	}
	h.built(identity)
	if got := h.tool(identity, "check_request", `{"id":"`+good+`"}`); !strings.Contains(got, "is approved: this machine has it") {
		t.Errorf("check_request: %s", got)
	}
	if data, err := os.ReadFile(dockerfile); err != nil || !strings.HasPrefix(string(data), "# mine\n\n# approved ") || !strings.Contains(string(data), "USER root\nRUN mkdir /once && id -u > /built && env >> /built\nENV BUILT=yes\nUSER node\n") {
		t.Errorf("for good: %s, %v", data, err)
	}
	if err := h.Write("dev/Dockerfile", "# mine\n"); err != nil { // it is the layer that is looked for
		t.Fatal(err)
	}
	h.run(0, "", "stop", identity)
	onTop := ", with what was approved as " + good + "\n"
	if r := h.run(0, "", "resume", "-y", "--detach", identity); !strings.Contains(r.Stderr, onTop) {
		t.Errorf("the preflight does not tell of it: %s", r.Stderr)
	}
	h.built(identity)
	h.run(0, "", "revoke", good)
	h.run(0, "", "stop", identity)
	if r := h.run(0, "", "resume", "-y", "--detach", identity); strings.Count(r.Stderr, onTop) != 1 || !strings.Contains(r.Stderr, "since its last run:\n  - image ") {
		t.Errorf("what was taken back is a difference, and no more: %s", r.Stderr)
	}
	if r := h.inside(identity, "cat /built"); r.Stdout != "" {
		t.Errorf("what was taken back is still there: %s", r.Stdout)
	}
	h.run(0, "", "logs", "--verify", identity)
	for _, s := range h.requests() {
		if s.Kind == requests.Capability {
			t.Errorf("it still waits: %+v", s)
		}
	}
}

// built wants what was approved in the bottle, and all that was there before.
func (h house) built(identity string) {
	h.t.Helper()
	r := h.run(0, "", "exec", identity, "--", "sh", "-c", "cat /built; echo $BUILT; cat /workspace/kept ~/kept; id -u")
	if lines := strings.Split(strings.TrimSpace(r.Stdout), "\n"); lines[0] != "0" || strings.Join(lines[len(lines)-4:], " ") != "yes kept kept 1000" {
		h.t.Errorf("got %s%s", r.Stdout, r.Stderr)
	}
	if strings.Contains(r.Stdout, "s3cr3t-proxy-word") {
		h.t.Errorf("what is the host's went into the build: %s", r.Stdout)
	}
}

// What was built for a bottle stays for as long as the bottle may come back to it, also where the bottle
// does not run it yet, and goes with the last bottle that has it.
func TestLayersGoWithTheirBottles(t *testing.T) {
	dockerOnly(t, "a machine keeps the image that it was made with")
	t.Parallel()
	h := open(t, standin.Options{})
	h.sleeper()
	if err := errors.Join(h.Write("bottles/sleeper2.md", "---\nextends: sleeper\nsupervise: true\n---\n"), h.Write("agents/sleeper.md", "---\nbottle: sleeper2\n---\n")); err != nil {
		t.Fatal(err)
	}
	layers := func(identity string) string {
		data, err := os.ReadFile(filepath.Join(h.Home, "state", identity, "layers"))
		if err != nil {
			t.Error(err)
		}
		return strings.TrimSpace(string(data))
	}
	there := func(ref string) bool {
		_, err := h.Engine.ImageInspect(t.Context(), ref)
		return err == nil
	}
	var bottles []string
	for range 2 {
		identity := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "sleeper").Stdout)
		h.removeAtEnd(identity)
		bottles = append(bottles, identity)
		id := h.asked(h.tool(identity, "request_capability", `{"dockerfile":"RUN echo `+filepath.Base(h.Home)+` > /mark","why":"x"}`))
		h.run(0, "", "approve", id, "-y", "--later")
	}
	ref := layers(bottles[0])
	if !strings.HasPrefix(ref, "bot-bottle/layer:") || layers(bottles[1]) != ref || !there(ref) {
		t.Fatalf("got %q and %q", ref, layers(bottles[1]))
	}
	stays := func(when string) {
		t.Helper()
		if h.cleanup("-y"); !there(ref) {
			t.Fatalf("the image is gone, %s", when)
		}
		var all []image.Built
		if err := json.Unmarshal([]byte(h.run(0, "", "image", "list", "--json").Stdout), &all); err != nil {
			t.Fatal(err)
		}
		if i := slices.IndexFunc(all, func(b image.Built) bool { return b.Ref == ref }); i < 0 || all[i].Unused() {
			t.Errorf("image prune would take it, %s: %+v", when, all)
		}
	}
	stays("while its bottles run without it")
	h.run(0, "", append([]string{"stop"}, bottles...)...)
	stays("after their end")
	h.run(0, "", "resume", "-y", "--detach", bottles[0])
	if r := h.inside(bottles[0], "cat /mark"); !strings.Contains(r.Stdout, filepath.Base(h.Home)) {
		t.Errorf("got %s%s", r.Stdout, r.Stderr)
	}
	h.run(0, "", "stop", bottles[0])
	stays("after it ran")
	h.run(0, "", "rm", "-y", bottles[0])
	stays("with one of its two bottles")
	if h.run(0, "", "rm", "-y", bottles[1]); there(ref) {
		t.Error("the image outlives its bottles")
	}
}
