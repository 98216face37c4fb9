package resolve

import (
	"encoding/base64"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/image"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/internal/provision"
	"github.com/bot-bottle/bot-bottle/internal/secret"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// spec is that of an agent of a template with these secrets and routes.
func spec(template string, secrets []string, routes ...policy.Route) bottle.Spec {
	held := map[string]secret.Value{}
	for _, name := range secrets {
		held[name] = secret.New("the-real-thing-of-" + name)
	}
	b := manifest.Bottle{Name: "dev", Provider: manifest.Provider{Template: template}, Routes: routes}
	return bottle.Spec{Identity: "x-aaaaaa", Agent: "x", Resolved: bottle.Resolved{Bottle: b, Secrets: held, Agent: manifest.Agent{Prompt: "You are X."}}}
}

func resolved(t *testing.T, s bottle.Spec) Plan {
	t.Helper()
	cli, err := provider.For(s.Resolved.Bottle.Provider.Template)
	if err != nil {
		t.Fatal(err)
	}
	p, err := For(t.Context(), s, cli, "owner", "docker")
	if err == nil {
		err = p.ResolveAgent(s, cli)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Attack C12: an agent that sees two of its credentials chooses by itself, and an API key moves
// it off its subscription. It gets one, in the provider's order or as a route says; the route to its
// models comes with that one, unless the manifest has one to the same host.
func TestAttackC12_AnAgentGetsOneCredential(t *testing.T) {
	own := func(host, secret string) policy.Route {
		return policy.Route{Host: host, Auth: &policy.Auth{Scheme: policy.Bearer, Secret: secret}}
	}
	for name, c := range map[string]struct {
		spec       bottle.Spec
		credential string
		hosts      []string // of its routes
		withheld   []string // of those that it holds
	}{
		"claude's key":            {spec("claude", []string{"ANTHROPIC_API_KEY", "GH_TOKEN"}), "ANTHROPIC_API_KEY", []string{"api.anthropic.com"}, nil},
		"claude, both":            {spec("claude", []string{"ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"}), "CLAUDE_CODE_OAUTH_TOKEN", []string{"api.anthropic.com"}, []string{"ANTHROPIC_API_KEY"}},
		"claude, and a route":     {spec("claude", []string{"ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"}, own("API.anthropic.com", "ANTHROPIC_API_KEY")), "ANTHROPIC_API_KEY", []string{"api.anthropic.com"}, []string{"CLAUDE_CODE_OAUTH_TOKEN"}},
		"a route to another host": {spec("claude", []string{"ANTHROPIC_API_KEY"}, policy.Route{Host: "docs.example"}), "ANTHROPIC_API_KEY", []string{"docs.example", "api.anthropic.com"}, nil},
		"none":                    {spec("claude", []string{"GH_TOKEN"}), "", nil, nil},
		"another's":               {spec("gemini", []string{"ANTHROPIC_API_KEY"}), "", nil, nil},
		"codex's keys":            {spec("codex", []string{"CODEX_API_KEY", "OPENAI_API_KEY"}), "OPENAI_API_KEY", []string{"api.openai.com"}, []string{"CODEX_API_KEY"}},
		"gemini's":                {spec("gemini", []string{"GEMINI_API_KEY"}), "GEMINI_API_KEY", []string{"generativelanguage.googleapis.com"}, nil},
		"opencode, two":           {spec("opencode", []string{"GEMINI_API_KEY", "OPENAI_API_KEY"}), "OPENAI_API_KEY", []string{"api.openai.com"}, []string{"GEMINI_API_KEY"}},
		"custom":                  {spec("custom", []string{"ANTHROPIC_API_KEY"}), "", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := resolved(t, c.spec)
			var hosts, withheld []string
			for _, r := range p.Routes {
				hosts = append(hosts, r.Host)
			}
			env := strings.Join(p.Environment(nil), "\n")
			for secret := range p.Secrets {
				if seen := strings.Contains(env, secret+"="+p.Placeholders[secret]); !seen {
					withheld = append(withheld, secret)
				}
			}
			if p.Credential != c.credential || !slices.Equal(hosts, c.hosts) || !slices.Equal(withheld, c.withheld) {
				t.Errorf("got %q, routes to %v, withheld %v", p.Credential, hosts, withheld)
			}
			if strings.Contains(env, "the-real-thing") {
				t.Errorf("a value is in its environment: %s", env)
			}
		})
	}
}

// A skill goes to where the agent's command line looks; one that knows none is told.
func TestSkillsGoWhereTheyAreLookedFor(t *testing.T) {
	for template, dir := range map[string]string{
		"claude": "/home/node/.claude/skills/tdd", "codex": "/home/node/.codex/skills/tdd", "gemini": "/home/node/.gemini/skills/tdd",
		"opencode": "/home/node/.config/opencode/skills/tdd", "custom": "/home/node/skills/tdd",
	} {
		s := spec(template, nil)
		s.Resolved.Skills = []bottle.Skill{{Name: "tdd", Dir: "/home/op/.claude/skills/tdd"}}
		p := resolved(t, s)
		if len(p.Skills) != 1 || p.Skills[0].Target != dir || s.Resolved.Skills[0].Target != "" {
			t.Errorf("%s: got %+v", template, p.Skills)
		}
		if told := strings.Contains(p.Prompt, dir+"/SKILL.md"); told != (template == "custom") || !strings.HasPrefix(p.Prompt, "You are X.") {
			t.Errorf("%s: its prompt is %q", template, p.Prompt)
		}
	}
}

// A key in the place of a login's token names no account, without which the agent would fail
// after its start.
func TestALoginNamesItsAccount(t *testing.T) {
	s := spec("codex", []string{"CODEX_LOGIN"})
	cli, err := provider.For("codex")
	if err != nil {
		t.Fatal(err)
	}
	p, err := For(t.Context(), s, cli, "owner", "docker")
	if err == nil {
		err = p.ResolveAgent(s, cli)
	}
	if err == nil || !strings.Contains(err.Error(), "{login: codex}") || strings.Contains(err.Error(), "the-real-thing") {
		t.Errorf("got %v", err)
	}
}

// A flag that an agent's command line has nothing for is not silently without effect.
func TestRemoteControlIsClaudes(t *testing.T) {
	for template, works := range map[string]bool{"claude": true, "codex": false, "gemini": false, "opencode": false, "custom": false} {
		cli, err := provider.For(template)
		if err != nil {
			t.Fatal(err)
		}
		s := spec(template, nil)
		s.RemoteControl = true
		p, err := For(t.Context(), s, cli, "owner", "docker")
		if err == nil {
			err = p.ResolveAgent(s, cli)
		}
		if (err == nil) != works || err != nil && !strings.Contains(err.Error(), template) {
			t.Errorf("%s: got %v", template, err)
		}
	}
}

// loginOf is an access token that names an account.
func loginOf(account string) secret.Value {
	claims := base64.RawURLEncoding.EncodeToString([]byte(`{"https://api.openai.com/auth":{"chatgpt_account_id":"` + account + `"}}`))
	return secret.New("e30." + claims + ".c2ln")
}

// Codex's own file says by which credential it talks to whom: a bottle that is resumed after its
// operator has taken to a key, or has logged in with another account, finds that one there.
func TestAResumedCodexHasTheCredentialOfToday(t *testing.T) {
	s := spec("codex", []string{"CODEX_LOGIN", "OPENAI_API_KEY"})
	s.Resolved.Secrets["CODEX_LOGIN"] = loginOf("account-of-old")
	first := resolved(t, s)
	record := state.Metadata{Provider: "codex", Placeholders: first.Placeholders}
	cli, err := provider.For("codex")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(map[string]secret.Value)
		want   func(Plan) string
	}{
		"another account": {func(all map[string]secret.Value) { all["CODEX_LOGIN"] = loginOf("account-of-today") }, func(Plan) string { return `"account_id": "account-of-today"` }},
		"a key":           {func(all map[string]secret.Value) { delete(all, "CODEX_LOGIN") }, func(p Plan) string { return p.Placeholders["OPENAI_API_KEY"] }},
	} {
		again := spec("codex", nil)
		maps.Copy(again.Resolved.Secrets, s.Resolved.Secrets)
		c.change(again.Resolved.Secrets)
		p, err := For(t.Context(), again, cli, "owner", "docker")
		p.ResumeFrom(record)
		if err == nil {
			err = p.ResolveAgent(again, cli)
		}
		if err != nil {
			t.Fatal(err)
		}
		var files provision.Archive
		p.addProviderFiles(&files)
		var tarred strings.Builder
		if err := files.Tar(&tarred); err != nil || !strings.Contains(tarred.String(), c.want(p)) {
			t.Errorf("%s: its file is the one of before, %v", name, err)
		}
	}
}

// What the manifest says of an image is what is built: its Dockerfile from where the operator stands,
// its network, the program that it must have; or an image as it is.
func TestTheImageIsTheManifests(t *testing.T) {
	images := image.Builder{Getenv: func(string) string { return "" }}
	for name, c := range map[string]struct {
		template string
		says     manifest.Provider
		want     image.Custom
	}{
		"relative": {"codex", manifest.Provider{Dockerfile: "agent.Dockerfile"}, image.Custom{Base: "codex", Dockerfile: "/home/op/src/agent.Dockerfile", Program: "codex"}},
		"offline":  {"custom", manifest.Provider{Dockerfile: "/etc/agent.Dockerfile", Offline: true}, image.Custom{Base: "custom", Dockerfile: "/etc/agent.Dockerfile", Offline: true}},
		"an image": {"gemini", manifest.Provider{Image: "r.example/x@sha256:0"}, image.Custom{Base: "gemini", Image: "r.example/x@sha256:0", Program: "gemini"}},
	} {
		s := spec(c.template, nil)
		c.says.Template = c.template
		s.Cwd, s.Resolved.Bottle.Provider = "/home/op/src", c.says
		cli, err := provider.For(c.template)
		if err != nil {
			t.Fatal(err)
		}
		p := Plan{Secrets: map[string]secret.Value{"KEY": secret.New("the-real-thing")}}
		if err := p.ResolveImage(images, cli, s); err != nil {
			t.Fatal(err)
		}
		got := p.Custom()
		if got.Secret == nil || !got.Secret([]byte("it is the-real-thing")) || got.Secret([]byte("nothing")) {
			t.Errorf("%s: its build may see a secret", name)
		}
		asked, own := CustomOf(s.Resolved.Bottle, cli, s.Cwd)
		if got.Secret = nil; !reflect.DeepEqual(got, c.want) || !reflect.DeepEqual(asked, c.want) || !own || p.Ours() {
			t.Errorf("%s: got %+v and %+v", name, got, asked)
		}
	}
}
