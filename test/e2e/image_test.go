package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/test/standin"
)

// The agent's image holds Claude's native binary and the usual tools, and nothing of
// the build: no Node, no npm, no certificates of the host.
func TestImageHoldsNothingOfTheBuild(t *testing.T) {
	dockerOnly(t, "it looks at an image's history")
	t.Parallel()
	h := open(t, standin.Options{})
	identity := h.idle()
	if r := h.inside(identity, `for p in git curl rg jq ssh; do command -v $p >/dev/null || echo "no $p"; done
for p in node npm npx; do command -v $p; done; ls -d /tmp/extra-ca.pem /usr/lib/node_modules /root/.npm 2>/dev/null; id -u node; true`); r.Stdout != "1000\n" {
		t.Errorf("got %q", r.Stdout)
	}
	c, err := h.Engine.ContainerInspect(t.Context(), "bot-bottle-"+identity+"-agent", client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	history, err := h.Engine.ImageHistory(t.Context(), c.Container.Image)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(history)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "BEGIN CERTIFICATE") || strings.Contains(string(text), "extra-ca") {
		t.Errorf("the image's history tells of the host's certificates: %s", text)
	}
}

// What a program that knows nothing of a proxy or of our CA trusts is the system's
// bundle, which has both the image's certificates and the bottle's own.
func TestSystemTrust(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	identity := h.idle()
	bare := `env -i PATH="$PATH" `
	if r := h.inside(identity, bare+`curl -sS https://api.anthropic.com/api/hello && grep -c BEGIN /etc/ssl/certs/ca-certificates.crt`); !strings.Contains(r.Stdout, "hello") {
		t.Errorf("curl with nothing set: got %q %q", r.Stdout, r.Stderr)
	} else if lines := strings.Fields(r.Stdout); len(lines[len(lines)-1]) < 3 {
		t.Errorf("the system's bundle holds %s certificates", lines[len(lines)-1])
	}
	if r := h.inside(identity, bare+`git ls-remote https://api.anthropic.com/x 2>&1`); !strings.Contains(r.Stdout, "not found") {
		t.Errorf("git with nothing set: got %q", r.Stdout)
	}
}
