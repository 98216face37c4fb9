package standin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// gemini answers what Gemini CLI asks of the Gemini API.
func (s *Server) gemini(w http.ResponseWriter, r *http.Request, body []byte) {
	_, verb, _ := strings.Cut(r.URL.Path, ":")
	switch verb {
	case "generateContent":
		reply(w, s.content(string(body)))
	case "streamGenerateContent":
		w.Header().Set("Content-Type", "text/event-stream")
		data, _ := json.Marshal(s.content(string(body)))
		_, _ = fmt.Fprintf(w, "data: %s\n\n", data)
	case "countTokens":
		reply(w, map[string]any{"totalTokens": 10})
	default:
		problem(w, http.StatusNotFound, "not_found_error", "not found")
	}
}

func (s *Server) content(conversation string) map[string]any {
	part := map[string]any{"text": s.options.Answer}
	if strings.Contains(conversation, `"complexity_score"`) { // the question which model to take
		part["text"] = `{"complexity_reasoning": "simple", "complexity_score": 1}`
	}
	tools := strings.Contains(conversation, `"functionDeclarations"`)
	if s.options.Tool != "" && tools && !strings.Contains(conversation, `"functionResponse"`) {
		part = map[string]any{"functionCall": map[string]any{"name": "run_shell_command", "args": map[string]any{"command": s.options.Tool}}}
	}
	if s.options.Call != nil && tools {
		if name, input := s.options.Call(conversation); name != "" {
			part = map[string]any{"functionCall": map[string]any{"name": name, "args": input}}
		}
	}
	return map[string]any{
		"candidates":    []any{map[string]any{"content": map[string]any{"role": "model", "parts": []any{part}}, "finishReason": "STOP", "index": 0}},
		"usageMetadata": map[string]any{"promptTokenCount": 10, "candidatesTokenCount": 10, "totalTokenCount": 20},
		"modelVersion":  "stand-in",
	}
}
