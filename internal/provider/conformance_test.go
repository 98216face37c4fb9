package provider

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// What every provider keeps to. One that is added is tested by being in all.
func TestConformance(t *testing.T) {
	for _, p := range all() {
		t.Run(p.Template, func(t *testing.T) {
			if p.Template == "" || p.Image == "" || p.Setup == nil {
				t.Fatalf("it is not complete: %+v", p)
			}
			if found, err := For(p.Template); err != nil || found.Template != p.Template {
				t.Errorf("it is not found: %v", err)
			}
			if p.Skills != "" && !strings.HasPrefix(p.Skills, Home+"/") {
				t.Errorf("skills are the agent's own, so they are at home, not in %s", p.Skills)
			}
			credentials(t, p)
			for _, in := range inputs(p) {
				setup(t, p, in)
			}
		})
	}
}

// credentials are worth something in one place only, and what stands for them is random.
func credentials(t *testing.T, p Provider) {
	for _, c := range p.Credentials {
		if _, err := policy.NewSet([]policy.Route{c.Route}); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		if c.Route.Auth == nil || c.Route.Auth.Secret != c.Name || strings.Contains(c.Route.Host, "*") {
			t.Errorf("%s does not carry itself to one host: %v", c.Name, c.Route)
		}
		if one, two := Placeholder(c.Name), Placeholder(c.Name); one == two || len(one) < 26 {
			t.Errorf("%s: got %s and %s", c.Name, one, two)
		}
	}
}

// inputs are all kinds of bottles.
func inputs(p Provider) (all []Input) {
	for i := range 32 {
		in := Input{Continue: i&1 > 0, Interactive: i&2 > 0, Supervise: i&4 > 0, Args: []string{"-x", "two words"}, Placeholders: map[string]string{}}
		if i&8 > 0 {
			in.Prompt = "the prompt's own words"
		}
		if i&16 > 0 && len(p.Credentials) > 0 {
			in.Credential = p.Credentials[0].Name
			in.Placeholders[in.Credential] = Placeholder(in.Credential)
		}
		all = append(all, in)
	}
	return all
}

func setup(t *testing.T, p Provider, in Input) {
	s := p.Setup(in)
	if len(s.Argv) < 2 || !slices.Equal(s.Argv[len(s.Argv)-2:], in.Args) {
		t.Errorf("%+v: the operator's arguments are not the last: %q", in, s.Argv)
	}
	all := fmt.Sprint(s.Argv, s.Env)
	for _, f := range s.Files {
		all += string(f.Data)
		file(t, f)
	}
	if in.Supervise != strings.Contains(all, SuperviseURL) {
		t.Errorf("%+v: the operator's MCP server is told of: %t", in, !in.Supervise)
	}
	if told := strings.Contains(all, in.Prompt) || strings.Contains(all, PromptFile); in.Prompt != "" && !told {
		t.Errorf("%+v: the prompt goes nowhere", in)
	}
	if in.Prompt == "" && strings.Contains(all, PromptFile) {
		t.Errorf("%+v: there is no prompt to point to", in)
	}
}

// file is either root's and for everybody to read, or the agent's and at home.
func file(t *testing.T, f File) {
	home := strings.HasPrefix(f.Path, Home+"/")
	if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || home != (f.UID == UID) || !home && (f.UID != 0 || f.Mode != 0o644) || f.Keep && !home {
		t.Errorf("%s: owner %d, mode %o, keep %t", f.Path, f.UID, f.Mode, f.Keep)
	}
}

// The arguments of one bottle are not written over those of the next.
func TestSetupSharesNothing(t *testing.T) {
	for _, p := range all() {
		args := make([]string, 1, 10)
		args[0] = "-p"
		one, two := p.Setup(Input{Args: args}), p.Setup(Input{Args: append(args, "x")})
		one.Argv[len(one.Argv)-1] = "changed"
		clear(one.Env)
		if args[0] != "-p" || two.Argv[len(two.Argv)-2] != "-p" || len(p.Setup(Input{}).Env) != len(two.Env) {
			t.Errorf("%s: got %v, %v", p.Template, args, two)
		}
	}
}

// A command line that knows no skills is told where they are.
func TestSkillsWithoutSkills(t *testing.T) {
	none, has := Provider{}, Provider{Skills: Home + "/.x/skills"}
	if note := none.SkillsNote([]string{"tdd"}); !strings.Contains(note, none.SkillDir("tdd")+"/SKILL.md") || none.SkillDir("tdd") != Home+"/skills/tdd" {
		t.Errorf("got %s", note)
	}
	if none.SkillsNote(nil) != "" || has.SkillsNote([]string{"tdd"}) != "" || has.SkillDir("tdd") != Home+"/.x/skills/tdd" {
		t.Error("there is nothing to tell")
	}
}

// Attack I1: an allowed host is a store for anybody's data as well: files, vector stores,
// caches. The routes that come with an agent reach its models and none of those.
func TestAttackI1_RoutesReachModelsAndNoStore(t *testing.T) {
	for name, c := range map[string]struct {
		route    policy.Route
		yes, not []string
	}{
		"openai": {openAIRoute("K"), []string{"/v1/responses", "/v1/responses/compact", "/v1/chat/completions", "/v1/models"}, []string{
			"/v1/files", "/v1/vector_stores", "/v1/containers/x/files", "/v1/uploads", "/v1/batches", "/v1/responses/../files", "/v1/%66iles", "/v1/fine_tuning/jobs"}},
		"gemini": {geminiRoute("K"), []string{"/v1beta/models/gemini-x:streamGenerateContent?alt=sse", "/v1beta/models"}, []string{
			"/upload/v1beta/files", "/v1beta/files", "/v1beta/cachedContents", "/v1beta/corpora/x", "/v1beta/models/../files", "/v1beta/fileSearchStores"}},
		"chatgpt": {chatGPTRoute(), []string{"/backend-api/codex/responses", "/backend-api/codex/responses/compact", "/backend-api/codex/models?client_version=1", "/backend-api/wham/accounts/check"}, []string{
			"/backend-api/files", "/backend-api/conversation", "/backend-api/conversations", "/backend-api/me", "/backend-api/accounts/check", "/backend-api/wham/tasks", "/backend-api/wham/accounts/x",
			"/backend-api/codex/responses/../../files", "/backend-api/codex/%2e%2e/files", "/backend-api/codex/usage", "/oauth/token"}},
	} {
		set, err := policy.NewSet([]policy.Route{c.route})
		if err != nil {
			t.Fatal(err)
		}
		allowed := func(target string) bool {
			return set.Request(policy.Request{Protocol: policy.HTTPS, Host: c.route.Host, Port: 443, Method: "POST", Target: target}).Allowed
		}
		for _, target := range c.yes {
			if !allowed(target) {
				t.Errorf("%s: %s is refused", name, target)
			}
		}
		for _, target := range c.not {
			if allowed(target) {
				t.Errorf("%s: %s is allowed", name, target)
			}
		}
	}
}

func TestUnknownTemplate(t *testing.T) {
	if _, err := For("cursor"); err == nil || !strings.Contains(err.Error(), "known: claude, codex, gemini, opencode, custom") {
		t.Errorf("got %v", err)
	}
}
