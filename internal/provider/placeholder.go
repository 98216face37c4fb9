package provider

import "crypto/rand"

// Alphabets of credentials.
const (
	alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	digits16 = "0123456789abcdef"
)

// random returns n letters and digits.
func random(n int) string { return randomOf(alphabet, n) }

func randomOf(characters string, n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand, Go 1.24)
	for i := range b {
		b[i] = characters[int(b[i])%len(characters)]
	}
	return string(b)
}

// Placeholder makes a worthless value that stands for a credential: random, unique, and of the
// shape that the credential's own clients accept, which some look at before they use it. Whatever
// runs in a bottle, a variable is read by any program that knows its name, so the name decides. Every
// placeholder says what it is in its first characters or holds enough that is random to be told from
// all others.
func Placeholder(name string) string {
	switch name {
	case anthropicKey, "ANTHROPIC_AUTH_TOKEN":
		return "sk-ant-api03-" + random(93) + "AA"
	case claudeOAuth:
		return "sk-ant-oat01-" + random(93) + "AA"
	case openAIKey, codexKey:
		return "sk-proj-" + random(48)
	case codexLogin:
		return unsigned(map[string]any{"exp": farEnd, "jti": random(32)}, random(43))
	case geminiKey, "GOOGLE_API_KEY", "GOOGLE_GENERATIVE_AI_API_KEY":
		return "AIzaSy" + random(33)
	case "OPENROUTER_API_KEY":
		return "sk-or-v1-" + randomOf(digits16, 64)
	case "GROQ_API_KEY":
		return "gsk_" + random(52)
	case "XAI_API_KEY":
		return "xai-" + random(80)
	case "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN":
		return "hf_" + randomOf(alphabet[:52], 34)
	case "GH_TOKEN", "GITHUB_TOKEN":
		return "ghp_" + random(36)
	case "GITLAB_TOKEN":
		return "glpat-" + random(20)
	case "NPM_TOKEN", "NODE_AUTH_TOKEN":
		return "npm_" + random(36)
	}
	return "placeholder-" + random(32)
}
