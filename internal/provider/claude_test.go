package provider

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

func TestClaude(t *testing.T) {
	p, err := For("claude")
	if err != nil {
		t.Fatal(err)
	}
	key := Placeholder("ANTHROPIC_API_KEY")
	setup := p.Setup(Input{Placeholders: map[string]string{"ANTHROPIC_API_KEY": key}, Prompt: "You are X.", Args: []string{"--model", "opus"}})
	want := []string{"claude", "--dangerously-skip-permissions", "--append-system-prompt-file", "/etc/bot-bottle/prompt.md", "--model", "opus"}
	if !slices.Equal(setup.Argv, want) || setup.Env["DISABLE_AUTOUPDATER"] != "1" {
		t.Errorf("got %v, %v", setup.Argv, setup.Env)
	}
	var state struct {
		HasCompletedOnboarding        bool
		BypassPermissionsModeAccepted bool
		CustomAPIKeyResponses         struct{ Approved []string } `json:"customApiKeyResponses"`
		Projects                      map[string]struct{ HasTrustDialogAccepted bool }
	}
	if len(setup.Files) != 2 || setup.Files[0].Path != "/home/node/.claude.json" || setup.Files[0].Mode != 0o600 {
		t.Fatalf("got %v", setup.Files)
	}
	if err := json.Unmarshal(setup.Files[0].Data, &state); err != nil {
		t.Fatal(err)
	}
	if !state.HasCompletedOnboarding || !state.BypassPermissionsModeAccepted || !state.Projects["/workspace"].HasTrustDialogAccepted ||
		!slices.Equal(state.CustomAPIKeyResponses.Approved, []string{key[len(key)-20:]}) {
		t.Errorf("got %+v", state)
	}
	if plain := p.Setup(Input{}); !slices.Equal(plain.Argv, want[:2]) {
		t.Errorf("got %v", plain.Argv)
	}
}

// Two of Claude's flags take words that follow them: none of them is the operator's first question.
func TestAQuestionIsNoFlagsValue(t *testing.T) {
	for _, in := range []Input{{RemoteControl: true}, {RemoteControl: true, Supervise: true, Continue: true}, {RemoteControl: true, Prompt: "You are X."}} {
		in.Args = []string{"which fruit?"}
		argv := claudeSetup(in).Argv
		if before := argv[len(argv)-2]; before != "--dangerously-skip-permissions" && before != PromptFile {
			t.Errorf("it stands behind %s: %q", before, argv)
		}
		for i, word := range argv[:len(argv)-1] {
			if (word == "--remote-control" || word == claudeMCP) && argv[i+1][0] != '-' {
				t.Errorf("%s takes %s", word, argv[i+1])
			}
		}
	}
}

// Attack C12: with both credentials, the key must not move the agent off its
// subscription: the subscription comes first.
func TestAttackC12_TheSubscriptionComesFirst(t *testing.T) {
	p, _ := For("claude")
	if p.Credentials[0].Name != "CLAUDE_CODE_OAUTH_TOKEN" {
		t.Errorf("got %v", p.Credentials)
	}
	for _, c := range p.Credentials {
		set, err := policy.NewSet([]policy.Route{c.Route})
		if err != nil {
			t.Fatal(err)
		}
		// Attack I1: files are put where whoever has the account, or is given the id, reads them.
		for target, want := range map[string]bool{"/v1/messages?beta=true": true, "/v1/files": false, "/v1/files/x/content": false, "/v1/%66iles": false, "/v1//files": false} {
			if d := set.Request(policy.Request{Protocol: policy.HTTPS, Host: c.Route.Host, Port: 443, Method: "POST", Target: target}); d.Allowed != want {
				t.Errorf("%s: got %+v", target, d)
			}
		}
		if _, err := c.Route.Normalize(); err != nil || c.Route.Host != "api.anthropic.com" || c.Route.Auth.Secret != c.Name {
			t.Errorf("%s: %+v, %v", c.Name, c.Route, err)
		}
	}
}
