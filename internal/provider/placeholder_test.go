package provider

import (
	"regexp"
	"testing"
)

// What stands for a credential has its shape: command lines look at theirs before they use it.
func TestPlaceholders(t *testing.T) {
	const anthropic, openAI, other = `^sk-ant-api03-[A-Za-z0-9]{93}AA$`, `^sk-proj-[A-Za-z0-9]{48}$`, `^placeholder-[A-Za-z0-9]{32}$`
	for template, shapes := range map[string]map[string]string{
		"claude": {
			"ANTHROPIC_API_KEY": anthropic, "CLAUDE_CODE_OAUTH_TOKEN": `^sk-ant-oat01-[A-Za-z0-9]{93}AA$`,
			"GH_TOKEN": `^ghp_[A-Za-z0-9]{36}$`, "GITHUB_TOKEN": `^ghp_[A-Za-z0-9]{36}$`, "GITLAB_TOKEN": `^glpat-[A-Za-z0-9]{20}$`, "NPM_TOKEN": `^npm_[A-Za-z0-9]{36}$`, "OTHER": other,
		},
		"codex":    {"OPENAI_API_KEY": openAI, "CODEX_API_KEY": openAI, "CODEX_LOGIN": `^[\w-]+\.[\w-]+\.[A-Za-z0-9]{43}$`, "OTHER": other},
		"gemini":   {"GEMINI_API_KEY": other},
		"opencode": {"ANTHROPIC_API_KEY": anthropic, "OPENAI_API_KEY": openAI, "GEMINI_API_KEY": other},
		"custom":   {"OPENAI_API_KEY": openAI, "OTHER": other},
	} {
		p, err := For(template)
		if err != nil {
			t.Fatal(err)
		}
		for name, shape := range shapes {
			one, two := p.Placeholder(name), p.Placeholder(name)
			if !regexp.MustCompile(shape).MatchString(one) || one == two {
				t.Errorf("%s, %s: got %s and %s", template, name, one, two)
			}
		}
	}
}
