package standin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/coder/websocket"
)

// openAI answers what Codex asks of OpenAI, of the API and of ChatGPT's own.
func (s *Server) openAI(w http.ResponseWriter, r *http.Request, body []byte) {
	switch {
	case strings.HasSuffix(r.URL.Path, "/responses") && r.Header.Get("Upgrade") != "":
		s.responseSocket(w, r)
	case strings.HasSuffix(r.URL.Path, "/responses") && r.Method == http.MethodPost:
		w.Header().Set("Content-Type", "text/event-stream")
		control := http.NewResponseController(w)
		s.respond(string(body), func(kind string, event []byte) {
			_, _ = fmt.Fprintf(w, "event: %s\ndata: %s\n\n", kind, event)
			_ = control.Flush()
		})
	case r.URL.Path == "/backend-api/wham/accounts/check":
		reply(w, accounts(r.Header.Get("Chatgpt-Account-Id")))
	case strings.HasSuffix(r.URL.Path, "/models"):
		reply(w, map[string]any{"object": "list", "data": []any{}, "models": []any{}})
	default:
		problem(w, http.StatusNotFound, "not_found_error", "not found")
	}
}

// accounts are the workspaces of a login, without which Codex does not say where it belongs.
func accounts(id string) map[string]any {
	return map[string]any{"default_account_id": id, "account_ordering": []any{id}, "accounts": []any{map[string]any{
		"id": id, "name": "stand-in", "structure": "personal", "plan_type": "plus", "workspace_backend_origin": "https://" + ChatGPTHost, "account_routing_override": "NO_CONSTRAINT",
		"is_deactivated": false, "is_fedramp_compliant_workspace": false,
	}}}
}

// responseSocket speaks the Responses API over a WebSocket: each message asks, and says only
// what is new since the one before.
func (s *Server) responseSocket(w http.ResponseWriter, r *http.Request) {
	socket, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = socket.CloseNow() }()
	socket.SetReadLimit(32 << 20)
	conversation := ""
	for {
		_, message, err := socket.Read(r.Context())
		if err != nil {
			return
		}
		s.record(Request{"WEBSOCKET", r.URL.RequestURI(), r.Header.Clone(), string(message)})
		conversation += string(message)
		s.respond(conversation, func(_ string, event []byte) { _ = socket.Write(r.Context(), websocket.MessageText, event) })
	}
}

// respond sends the events of one response.
func (s *Server) respond(conversation string, send func(kind string, event []byte)) {
	outputs := strings.Count(conversation, `_call_output"`)
	id := fmt.Sprintf("resp_%02d", outputs+1)
	emit := func(kind string, fields map[string]any) {
		fields["type"] = kind
		data, _ := json.Marshal(fields)
		send(kind, data)
	}
	response := map[string]any{"id": id, "object": "response", "created_at": 1700000000, "model": "stand-in", "status": "in_progress", "output": []any{}}
	emit("response.created", map[string]any{"response": response})
	item := s.openAIItem(conversation, outputs)
	if text, ok := item["text"].(string); ok {
		delete(item, "text")
		emit("response.output_item.added", map[string]any{"output_index": 0, "item": item})
		for piece := range strings.SplitAfterSeq(text, " ") {
			emit("response.output_text.delta", map[string]any{"item_id": item["id"], "output_index": 0, "content_index": 0, "delta": piece})
		}
		item["content"] = []any{map[string]any{"type": "output_text", "text": text, "annotations": []any{}}}
	} else {
		emit("response.output_item.added", map[string]any{"output_index": 0, "item": item})
	}
	emit("response.output_item.done", map[string]any{"output_index": 0, "item": item})
	response["status"], response["output"] = "completed", []any{item}
	response["usage"] = map[string]any{
		"input_tokens": 10, "input_tokens_details": map[string]any{"cached_tokens": 0},
		"output_tokens": 10, "output_tokens_details": map[string]any{"reasoning_tokens": 0}, "total_tokens": 20,
	}
	emit("response.completed", map[string]any{"response": response})
}

// openAIItem is what the model says: a call of a tool, or the answer.
func (s *Server) openAIItem(conversation string, outputs int) map[string]any {
	call := func(name string, input map[string]any) map[string]any {
		arguments, _ := json.Marshal(input)
		return map[string]any{"id": fmt.Sprintf("fc_%02d", outputs+1), "type": "function_call", "call_id": fmt.Sprintf("call_%02d", outputs+1), "name": name, "arguments": string(arguments), "status": "completed"}
	}
	tools := strings.Contains(conversation, `"tools":[{`)
	if s.options.Tool != "" && tools && outputs == 0 {
		if strings.Contains(conversation, "tools.exec_command") {
			return codeCall("exec_command", map[string]any{"cmd": s.options.Tool})
		}
		return call("bash", map[string]any{"command": s.options.Tool, "description": "Run it"})
	}
	if s.options.Call != nil && tools {
		if name, input := s.options.Call(conversation); name != "" && strings.Contains(conversation, "tools.exec_command") {
			return codeCall(name, input)
		} else if name != "" {
			return call(name, input)
		}
	}
	return map[string]any{"id": "msg_01", "type": "message", "role": "assistant", "status": "completed", "content": []any{}, "text": s.options.Answer}
}

// codeCall calls a tool as Codex has its models do it: with a line of JavaScript.
func codeCall(name string, input map[string]any) map[string]any {
	arguments, _ := json.Marshal(input)
	return map[string]any{
		"id": "ctc_01", "type": "custom_tool_call", "call_id": "call_01", "namespace": "functions", "name": "exec", "status": "completed",
		"input": "text(await tools." + name + "(" + string(arguments) + "))",
	}
}
