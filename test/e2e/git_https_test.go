package e2e

import (
	"encoding/base64"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/prove/githttp"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// An https upstream with a token: git works in the bottle, and the token is nowhere in it.
func TestGitThroughTheGateOverHTTPS(t *testing.T) {
	t.Parallel()
	h := openGit(t, standin.Options{}, `refs: ["refs/heads/agent/**"]`)
	gateway, _, err := net.SplitHostPort(h.Standin.Address)
	if err != nil {
		t.Fatal(err)
	}
	const token = "site-Vb5nR8wQ2kXs7L"
	server, err := githttp.Start(githttp.Options{Listen: net.JoinHostPort(gateway, "0"), Root: filepath.Dir(h.upstream), User: "agent", Password: token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	url := server.URL(gatewayName(), "widget.git")
	for name, content := range map[string]string{
		"git-ca.pem": server.CA,
		"token":      token + "\n",
		"bottles/git.md": fmt.Sprintf("---\nextends: sleeper\nsecrets:\n  SITE_TOKEN: {file: ../token}\ngit:\n  - name: widget\n    upstream: %s\n    auth: {user: agent, secret: SITE_TOKEN}\n    ca: ../git-ca.pem\n    push: {refs: [\"refs/heads/agent/**\"]}\n---\n",
			url),
	} {
		if err := h.Write(name, content); err != nil {
			t.Fatal(err)
		}
	}
	identity := h.start()
	out := h.sh(0, identity, "cd /workspace && git clone -q "+url+" widget && cd widget && git checkout -q -b agent/fix && echo hi > hi && git add hi && git commit -q -m hi && git push origin agent/fix && git fetch && git rev-parse HEAD")
	if head := h.theirs("refs/heads/agent/fix"); head == "" || !strings.Contains(out, head) {
		t.Errorf("upstream has %q: %s", head, out)
	}
	found := h.inside(identity, "cat /proc/*/environ /proc/*/cmdline /etc/gitconfig; cat /workspace/widget/.git/config; git config --list").Stdout
	for _, form := range []string{token, base64.StdEncoding.EncodeToString([]byte("agent:" + token))} {
		if strings.Contains(found, form) || strings.Contains(out, form) {
			t.Error("the bottle has the token")
		}
	}
	for spelling, want := range map[string]string{
		"git://" + gatewayName() + "/widget.git": "", "git://git.example/acme/x": "git.example/acme/x is not one of this bottle's repositories (widget).",
		"git@git.example:acme/x.git": `call request_git of the MCP server "operator"`, "ssh://git.example:2222/acme/x": `call request_git of the MCP server "operator"`,
		"https://git.example/acme/x.git": "remote: https://git.example/acme/x.git is not one of this bottle's repositories",
		"http://git.example/x":           "remote: bot-bottle: ",
	} {
		r, err := h.Run(t.Context(), nil, "exec", identity, "--", "git", "ls-remote", spelling)
		if err != nil || (r.Code == 0) != (want == "") || !strings.Contains(r.Stderr, want) {
			t.Errorf("%s: status %d, %v: %s", spelling, r.Code, err, r.Stderr)
		}
	}
	server.SetPassword("expired")
	r, err := h.Run(t.Context(), nil, "exec", identity, "--", "sh", "-c", "cd /workspace/widget && git commit -q --allow-empty -m more && git push origin agent/fix")
	if err != nil || r.Code == 0 || !strings.Contains(r.Stderr, "does not take the gate's credential") {
		t.Errorf("status %d, %v: %s", r.Code, err, r.Stderr)
	}
}
