package provision

import "github.com/bot-bottle/bot-bottle/internal/provider"

// Prompt writes the agent's prompt where its provider looks for it.
func Prompt(a *Archive, text string) {
	if text != "" {
		a.Add(provider.File{Path: provider.PromptFile, Mode: 0o644, Data: []byte(text)})
	}
}
