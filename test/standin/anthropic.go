package standin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// ask is the part of a request that matters here.
type ask struct {
	Model    string            `json:"model"`
	Stream   bool              `json:"stream"`
	Tools    []json.RawMessage `json:"tools"`
	Messages []struct {
		Content json.RawMessage `json:"content"`
	} `json:"messages"`
}

// messages answers, with a call of the Bash tool first where one is wanted and has
// not been made yet.
func (s *Server) messages(w http.ResponseWriter, body []byte) {
	var a ask
	if err := json.Unmarshal(body, &a); err != nil {
		problem(w, http.StatusBadRequest, "invalid_request_error", "not JSON")
		return
	}
	content, stop := map[string]any{"type": "text", "text": s.options.Answer}, "end_turn"
	if s.options.Tool != "" && len(a.Tools) > 0 && !strings.Contains(string(body), `"tool_result"`) {
		content, stop = map[string]any{"type": "tool_use", "id": "toolu_01", "name": "Bash", "input": map[string]any{"command": s.options.Tool, "description": "Run it"}}, "tool_use"
	}
	if s.options.Call != nil && len(a.Tools) > 0 {
		if name, input := s.options.Call(string(body)); name != "" {
			id := fmt.Sprintf("toolu_%02d", strings.Count(string(body), `"type":"tool_result"`)+1)
			content, stop = map[string]any{"type": "tool_use", "id": id, "name": name, "input": input}, "tool_use"
		}
	}
	message := map[string]any{
		"id": "msg_01", "type": "message", "role": "assistant", "model": a.Model, "content": []any{content},
		"stop_reason": stop, "stop_sequence": nil, "usage": map[string]any{"input_tokens": 10, "output_tokens": 10},
	}
	if !a.Stream {
		reply(w, message)
		return
	}
	stream(w, message, content, stop)
}

// stream sends a message as server-sent events, text in several pieces.
func stream(w http.ResponseWriter, message, content map[string]any, stop string) {
	w.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(w)
	send := func(kind string, fields map[string]any) {
		fields["type"] = kind
		data, _ := json.Marshal(fields)
		_, _ = fmt.Fprintf(w, "event: %s\ndata: %s\n\n", kind, data)
		_ = control.Flush()
	}
	message["content"], message["stop_reason"] = []any{}, nil
	send("message_start", map[string]any{"message": message})
	if text, ok := content["text"].(string); ok {
		send("content_block_start", map[string]any{"index": 0, "content_block": map[string]any{"type": "text", "text": ""}})
		for piece := range strings.SplitAfterSeq(text, " ") {
			send("content_block_delta", map[string]any{"index": 0, "delta": map[string]any{"type": "text_delta", "text": piece}})
		}
	} else {
		input, _ := json.Marshal(content["input"])
		start := map[string]any{"type": "tool_use", "id": content["id"], "name": content["name"], "input": map[string]any{}}
		send("content_block_start", map[string]any{"index": 0, "content_block": start})
		send("content_block_delta", map[string]any{"index": 0, "delta": map[string]any{"type": "input_json_delta", "partial_json": string(input)}})
	}
	send("content_block_stop", map[string]any{"index": 0})
	send("message_delta", map[string]any{"delta": map[string]any{"stop_reason": stop, "stop_sequence": nil}, "usage": map[string]any{"output_tokens": 10}})
	send("message_stop", map[string]any{})
}
