package provider

import "crypto/rand"

const alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// random returns n letters and digits.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand, Go 1.24)
	for i := range b {
		b[i] = alphabet[int(b[i])%len(alphabet)]
	}
	return string(b)
}

// placeholder is the shape of well-known credentials, so that tools that check theirs
// before use accept it. Every placeholder says what it is in its first characters or
// holds enough that is random to be told from all others.
func placeholder(name string) string {
	switch name {
	case "GH_TOKEN", "GITHUB_TOKEN":
		return "ghp_" + random(36)
	case "GITLAB_TOKEN":
		return "glpat-" + random(20)
	case "NPM_TOKEN":
		return "npm_" + random(36)
	case "OPENAI_API_KEY":
		return "sk-proj-" + random(48)
	}
	return "placeholder-" + random(32)
}
