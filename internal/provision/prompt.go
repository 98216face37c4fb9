package provision

import "github.com/bot-bottle/bot-bottle/internal/provider"

// Prompt writes the agent's prompt where the provider's arguments point to.
func Prompt(a *Archive, file, text string) {
	if file != "" {
		a.Add(provider.File{Path: file, Mode: 0o644, Data: []byte(text)})
	}
}
