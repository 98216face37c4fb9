package e2e

import (
	"context"
	"encoding/base64"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/test/lab"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// Any command line is an agent: a Dockerfile of the operator's, built without a network, its
// arguments from the manifest, its prompt in a file, and the model's API reached with a key that it
// does not have. The key lies beside the Dockerfile, and is not in the image.
func TestCustomAgent(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	own := filepath.Join(h.Home, "own")
	for name, content := range map[string]string{
		"own/Dockerfile": "USER root\nCOPY . /context/\nRUN install -m 755 /context/answer /usr/local/bin/answer && chmod -R a+rX /context\n",
		"own/answer":     "#!/bin/sh\n# " + lab.NewKey() + "\necho \"$@\"; cat \"$BOT_BOTTLE_PROMPT_FILE\"; ls /context\ncurl -sS -H \"x-api-key: $ANTHROPIC_API_KEY\" https://api.anthropic.com/api/hello\n",
		"own/notes.txt":  "the key is " + h.Key + "\n",
		"own/notes.b64":  base64.StdEncoding.EncodeToString([]byte("the key is " + h.Key)),
		"bottles/own.md": "---\nextends: dev\nagent_provider:\n  template: custom\n  dockerfile: " + own + "/Dockerfile\n  build: {network: none}\n---\n",
		"agents/own.md":  "---\nbottle: own\nargs: [answer, --loud]\n---\nYou are your own.\n",
	} {
		if err := h.Write(name, content); err != nil {
			t.Fatal(err)
		}
	}
	built := h.run(0, "", "build", "own")
	t.Cleanup(func() {
		ref := regexp.MustCompile(`bot-bottle/custom:[0-9a-f]+`).FindString(built.Stderr)
		_, _ = h.Engine.ImageRemove(context.WithoutCancel(t.Context()), ref, client.ImageRemoveOptions{PruneChildren: true})
	})
	for _, want := range []string{"check that it fits a bottle", "left out of the build, since they hold a secret of the bottle's: notes.b64, notes.txt", "own has its images"} {
		if !strings.Contains(built.Stderr, want) {
			t.Errorf("want %q in %s", want, built.Stderr)
		}
	}
	if again := h.run(0, "", "build", "own"); strings.Contains(again.Stderr, "building") {
		t.Errorf("it was built again: %s", again.Stderr)
	}
	r := h.run(0, "", "start", "-y", "--rm", "own", "--", "two words")
	if r.Stdout != "--loud two words\nYou are your own.Dockerfile\nanswer\n{\"message\":\"hello\"}\n" {
		t.Errorf("got %q", r.Stdout)
	}
	if strings.Contains(r.Stderr, "building") {
		t.Errorf("what build made is not what start takes: %s", r.Stderr)
	}
	if list := h.run(0, "", "image", "list"); !strings.Contains(list.Stdout, "bot-bottle/custom:") {
		t.Errorf("got %s", list.Stdout)
	}
	if r := h.run(0, "", "image", "prune", "-y"); !strings.Contains(r.Stderr, "every image is used") {
		t.Errorf("it takes what the manifest names: %s", r.Stderr)
	}
}
