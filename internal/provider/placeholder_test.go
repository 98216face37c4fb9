package provider

import (
	"regexp"
	"testing"
)

// What stands for a credential has its shape, whatever agent runs in the bottle: command lines and
// libraries look at theirs before they use it.
func TestPlaceholders(t *testing.T) {
	const anthropic, openAI, google, other = `^sk-ant-api03-[A-Za-z0-9]{93}AA$`, `^sk-proj-[A-Za-z0-9]{48}$`, `^AIza[A-Za-z0-9_-]{35}$`, `^placeholder-[A-Za-z0-9]{32}$`
	for name, shape := range map[string]string{
		"ANTHROPIC_API_KEY": anthropic, "ANTHROPIC_AUTH_TOKEN": anthropic, "CLAUDE_CODE_OAUTH_TOKEN": `^sk-ant-oat01-[A-Za-z0-9]{93}AA$`,
		"OPENAI_API_KEY": openAI, "CODEX_API_KEY": openAI, "CODEX_LOGIN": `^[\w-]+\.[\w-]+\.[A-Za-z0-9]{43}$`,
		"GEMINI_API_KEY": google, "GOOGLE_API_KEY": google, "GOOGLE_GENERATIVE_AI_API_KEY": google,
		"OPENROUTER_API_KEY": `^sk-or-v1-[a-f0-9]{64}$`, "GROQ_API_KEY": `^gsk_[A-Za-z0-9]{52}$`, "XAI_API_KEY": `^xai-[A-Za-z0-9]{80}$`, "HF_TOKEN": `^hf_[A-Za-z]{34}$`,
		"GH_TOKEN": `^ghp_[A-Za-z0-9]{36}$`, "GITHUB_TOKEN": `^ghp_[A-Za-z0-9]{36}$`, "GITLAB_TOKEN": `^glpat-[A-Za-z0-9]{20}$`, "NPM_TOKEN": `^npm_[A-Za-z0-9]{36}$`,
		"OTHER": other, "anthropic_api_key": other,
	} {
		one, two := Placeholder(name), Placeholder(name)
		if !regexp.MustCompile(shape).MatchString(one) || one == two {
			t.Errorf("%s: got %s and %s", name, one, two)
		}
	}
}
