package provider

import (
	"strings"
	"testing"
)

// Gemini CLI writes what it wants to remember, of its operator and in general, into its GEMINI.md at
// home: a resumed bottle has that as it left it. The prompt is today's, also where there is none any more.
func TestGeminiKeepsWhatItRemembers(t *testing.T) {
	told := func(in Input) (text string, files int) {
		for _, f := range geminiSetup(in).Files {
			if strings.HasPrefix(f.Path, Home+"/.gemini/") {
				text, files = text+string(f.Data), files+1
			}
			if f.Path == Home+"/.gemini/GEMINI.md" {
				t.Errorf("%+v: its memory is written over", in)
			}
		}
		return text, files
	}
	if text, files := told(Input{Prompt: "You are X.", Continue: true}); files != 1 || !strings.Contains(text, "You are X.") {
		t.Errorf("with a prompt: got %d files, %q", files, text)
	}
	if text, files := told(Input{Continue: true}); files != 1 || strings.TrimSpace(text) != "" {
		t.Errorf("without one any more: got %d files, %q", files, text)
	}
	if _, files := told(Input{}); files != 0 {
		t.Errorf("without one at first: got %d files", files)
	}
}
