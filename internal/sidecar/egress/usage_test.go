package egress

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/audit"
)

// answers are what the providers' APIs send, shortened.
var answers = map[string]struct {
	path, kind, body string
	want             audit.Usage
}{
	"messages": {"/v1/messages", "application/json",
		`{"model":"claude-opus-4","id":"msg_1","type":"message","role":"assistant","content":[{"type":"text","text":"{\"usage\":{\"input_tokens\":9}}"},{"type":"tool_use","input":{"usage":{"input_tokens":777,"output_tokens":777},"model":"fake"}}],"stop_reason":"end_turn","usage":{"input_tokens":10,"cache_creation_input_tokens":2000,"cache_read_input_tokens":30000,"cache_creation":{"ephemeral_5m_input_tokens":2000},"output_tokens":42,"service_tier":"standard"}}`,
		audit.Usage{Model: "claude-opus-4", TokensIn: 32010, TokensOut: 42, TokensCached: 30000}},
	"messages, streamed": {"/v1/messages", "text/event-stream; charset=utf-8", strings.Join([]string{
		`event: message_start`, `data: {"type":"message_start","message":{"id":"msg_1","model":"claude-sonnet-4-5","content":[],"usage":{"input_tokens":25,"cache_creation_input_tokens":7,"cache_read_input_tokens":100,"output_tokens":1}}}`, ``,
		`event: ping`, `data: {"type": "ping"}`, ``,
		`event: content_block_start`, `data: {"type":"content_block_start","index":0,"content_block":{"type":"tool_use","input":{"usage":{"output_tokens":999}}}}`, ``,
		`event: content_block_delta`, `data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello \"usage\":{\"output_tokens\":5000}\n\ndata: {}"}}`, ``,
		`event: message_delta`, `data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15}}`, ``,
		`event: message_stop`, `data: {"type":"message_stop"}`, ``, ``,
	}, "\n"), audit.Usage{Model: "claude-sonnet-4-5", TokensIn: 132, TokensOut: 15, TokensCached: 100}},
	"messages, other line ends": {"/proxy/anthropic/v1/messages", "text/event-stream",
		"data:{\"message\":{\"model\":\"m\",\r\ndata: \"usage\":{\"input_tokens\":5}}}\r\n\r\ndata: {\"usage\":{\"output_\rdata: tokens\":1}}\r\rdata: {\"usage\":{\"output_tokens\":6}}\r\r",
		audit.Usage{Model: "m", TokensIn: 5, TokensOut: 6}},
	"messages, cut off": {"/v1/messages", "text/event-stream",
		"data: {\"type\":\"message_start\",\"message\":{\"model\":\"m\",\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}}\n\ndata: {\"usage\":{\"output_tok",
		audit.Usage{Model: "m", TokensIn: 5, TokensOut: 1}},
	"messages, an error": {"/v1/messages", "application/json", `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`, audit.Usage{}},
	"chat": {"/v1/chat/completions", "application/json",
		`{"id":"c","object":"chat.completion","model":"gpt-5-2026","choices":[{"message":{"content":"hi","usage":{"prompt_tokens":888}}}],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":8,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":3}}}`,
		audit.Usage{Model: "gpt-5-2026", TokensIn: 19, TokensOut: 10, TokensCached: 8}},
	"chat, streamed": {"/openai/deployments/d/chat/completions", "text/event-stream", strings.Join([]string{
		`data: {"choices":[],"model":"","usage":null}`, ``,
		`data: {"choices":[{"delta":{"content":"a"}}],"model":"gpt-5","usage":null}`, ``,
		`: a comment`, ``,
		`data: {"choices":[],"model":"gpt-5","usage":{"prompt_tokens":100,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":64}}}`, ``,
		`data: [DONE]`, ``, ``,
	}, "\n"), audit.Usage{Model: "gpt-5", TokensIn: 100, TokensOut: 7, TokensCached: 64}},
	"responses": {"/v1/responses", "",
		`{"id":"resp","model":"o9","output":[{"content":[{"text":"x"}]}],"metadata":{"usage":"input_tokens"},"usage":{"input_tokens":36,"input_tokens_details":{"cached_tokens":4},"output_tokens":87,"output_tokens_details":{"reasoning_tokens":50},"total_tokens":123}}`,
		audit.Usage{Model: "o9", TokensIn: 36, TokensOut: 87, TokensCached: 4}},
	"responses, streamed": {"/v1/responses", "text/event-stream", strings.Join([]string{
		`event: response.created`, `data: {"type":"response.created","response":{"id":"r","model":"codex-1","output":[],"usage":null}}`, ``,
		`event: response.output_text.delta`, `data: {"type":"response.output_text.delta","delta":"{\"response\":{\"usage\":{\"input_tokens\":1}}}"}`, ``,
		`event: response.completed`, `data: {"type":"response.completed","response":{"id":"r","model":"codex-1","usage":{"input_tokens":37,"input_tokens_details":{"cached_tokens":11},"output_tokens":12}}}`, ``, ``,
	}, "\n"), audit.Usage{Model: "codex-1", TokensIn: 37, TokensOut: 12, TokensCached: 11}},
	"gemini": {"/v1beta/models/gemini-2.5-pro:generateContent", "application/json; charset=UTF-8",
		`{"candidates":[{"content":{"parts":[{"functionCall":{"args":{"usageMetadata":{"promptTokenCount":999}}}}]}}],"usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":20,"thoughtsTokenCount":5,"toolUsePromptTokenCount":3,"cachedContentTokenCount":64,"totalTokenCount":128,"promptTokensDetails":[{"modality":"TEXT","tokenCount":100}]},"modelVersion":"gemini-2.5-pro"}`,
		audit.Usage{Model: "gemini-2.5-pro", TokensIn: 103, TokensOut: 25, TokensCached: 64}},
	"gemini, a list": {"/v1beta/models/gemini-2.5-pro:streamGenerateContent", "application/json",
		"[{\"usageMetadata\": {\"promptTokenCount\": 10,\"candidatesTokenCount\": 2},\"modelVersion\": \"g\"}\n,\r\n{\"usageMetadata\": {\"promptTokenCount\": 10,\"candidatesTokenCount\": 9}}]\n",
		audit.Usage{Model: "g", TokensIn: 10, TokensOut: 9}},
	"gemini, streamed": {"/v1/projects/p/locations/l/publishers/google/models/g:streamGenerateContent", "text/event-stream",
		"data: {\"usageMetadata\": {\"promptTokenCount\": 10,\"candidatesTokenCount\": 2},\"modelVersion\": \"g\"}\r\n\r\ndata: {\"usageMetadata\": {\"promptTokenCount\": 10,\"candidatesTokenCount\": 9,\"thoughtsTokenCount\": 1}}\r\n\r\n",
		audit.Usage{Model: "g", TokensIn: 10, TokensOut: 10}},
	// What nobody sends, and what must do no harm.
	"nonsense counts": {"/v1/messages", "application/json", `{"model":["m"],"usage":{"input_tokens":-5,"output_tokens":1e9,"cache_read_input_tokens":"7","cache_creation_input_tokens":99999999999999999999}}`, audit.Usage{}},
	"huge count":      {"/v1/messages", "application/json", `{"usage":{"input_tokens":9223372036854775807,"output_tokens":3}}`, audit.Usage{TokensOut: 3}},
	"an escape":       {"/v1/messages", "application/json", `{"model":"a\u0062\"c\\","usage":{"output_tokens":3 }}`, audit.Usage{Model: `ab"c\`, TokensOut: 3}},
	"a bad escape":    {"/v1/messages", "application/json", `{"model":"a\x","usage":{"output_tokens":3}}`, audit.Usage{TokensOut: 3}},
	"a long model":    {"/v1/messages", "application/json", `{"model":"` + strings.Repeat("m", 500) + `","usage":{"output_tokens":3}}`, audit.Usage{TokensOut: 3}},
	"long keys":       {"/v1/messages", "application/json", `{"` + strings.Repeat("usage", 500) + `":{"output_tokens":9},"usage":{"output_tokens":3}}`, audit.Usage{TokensOut: 3}},
	"deep":            {"/v1/messages", "application/json", `{"a":` + strings.Repeat(`{"usage":[`, 5000) + strings.Repeat(`]}`, 5000) + `,"usage":{"output_tokens":3}}`, audit.Usage{TokensOut: 3}},
	"more ends":       {"/v1/messages", "application/json", `}}]]}{"usage":{"output_tokens":3}}`, audit.Usage{TokensOut: 3}},
	"no JSON":         {"/v1/messages", "application/json", "<html>usage: 3</html>", audit.Usage{}},
	"list in a list":  {"/v1/messages", "application/json", `[[{"usage":{"output_tokens":3}}]]`, audit.Usage{}},
}

func TestUsage(t *testing.T) {
	for name, a := range answers {
		for _, size := range []int{1, 2, 3, 7, 64, 1 << 20} {
			u := newUsage("llm.example", a.path, a.kind)
			if u == nil {
				t.Fatalf("%s: %s is not read", name, a.path)
			}
			feed(t, u, a.body, size)
			if got := u.Result(); got != a.want {
				t.Errorf("%s, %d bytes at a time: got %+v, want %+v", name, size, got, a.want)
			}
		}
	}
}

func feed(t *testing.T, u *usage, body string, size int) {
	t.Helper()
	for len(body) > 0 {
		part := []byte(body[:min(size, len(body))])
		before := string(part)
		if n, err := u.Write(part); n != len(part) || err != nil || string(part) != before {
			t.Fatalf("got %d, %v, %q of %q", n, err, part, before)
		}
		body = body[len(part):]
	}
}

func TestUsageIsForModelsOnly(t *testing.T) {
	for _, c := range []struct {
		host, path, kind string
		want             bool
	}{
		{"api.anthropic.com", "/v1/messages", "application/json", true},
		{"api.anthropic.com", "/v1/messages/count_tokens", "application/json", false},
		{"api.anthropic.com", "/v1/messages/batches", "application/json", false},
		{"api.anthropic.com", "/v1/files", "application/json", false},
		{"api.anthropic.com", "/v1/messages", "text/html", false},
		{"bedrock.example", "/v1/messages", "application/vnd.amazon.eventstream", false},
		{"openrouter.example", "/api/v1/chat/completions", "text/event-stream", true},
		{"chatgpt.com", "/backend-api/codex/responses", "text/event-stream", true},
		{"survey.example", "/forms/3/responses", "application/json", false},
		{"generativelanguage.googleapis.com", "/v1beta/models/g:countTokens", "application/json", false},
		{"generativelanguage.googleapis.com", "/v1beta/models/g:generateContent", "application/json", true},
		{"api.github.com", "/user", "application/json", false},
	} {
		if got := newUsage(c.host, c.path, c.kind) != nil; got != c.want {
			t.Errorf("%s%s %s: got %v", c.host, c.path, c.kind, got)
		}
	}
}

// Documents at random: what is found is what is there, outside of every list.
func TestUsageAgreesWithAParser(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		doc := object(r, 0)
		body, err := json.MarshalIndent(doc, "", strings.Repeat(" ", r.IntN(3)))
		if err != nil {
			t.Fatal(err)
		}
		want := audit.Usage{}
		want.Model, _ = doc["model"].(string)
		if u, ok := doc["usage"].(map[string]any); ok {
			n, _ := u["prompt_tokens"].(int)
			want.TokensIn = int64(n)
			if d, ok := u["prompt_tokens_details"].(map[string]any); ok {
				n, _ := d["cached_tokens"].(int)
				want.TokensCached = int64(n)
			}
		}
		u := newUsage("api.openai.com", "/v1/chat/completions", "application/json")
		feed(t, u, string(body), 1+r.IntN(9))
		if got := u.Result(); got != want {
			t.Fatalf("got %+v, want %+v of\n%s", got, want, body)
		}
	}
}

func object(r *rand.Rand, depth int) map[string]any {
	o := map[string]any{}
	for _, key := range []string{"model", "usage", "prompt_tokens", "prompt_tokens_details", "cached_tokens", `a "key"`, ""} {
		if r.IntN(3) > 0 {
			o[key] = anything(r, depth+1)
		}
	}
	return o
}

func anything(r *rand.Rand, depth int) any {
	n := r.IntN(7)
	if depth > 6 {
		n = r.IntN(4)
	}
	switch n {
	case 0:
		return r.IntN(1000)
	case 1:
		return []string{"gpt", "", `"usage":{"prompt_tokens":1}`, `\`, "ü\n"}[r.IntN(5)]
	case 2:
		return nil
	case 3:
		return true
	case 4:
		return []any{anything(r, depth+1), anything(r, depth+1)}
	}
	return object(r, depth)
}

// An answer of any length is read in constant memory.
func TestUsageKeepsNothing(t *testing.T) {
	u := newUsage("api.anthropic.com", "/v1/messages", "application/json")
	chunk := []byte(strings.Repeat(`{"a":["bbbbbbbb",{"c":"`, 4000))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 300 {
		_, _ = u.Write(chunk)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<10 {
		t.Errorf("%d bytes more after %d MB", grown, 300*len(chunk)>>20)
	}
}

// FuzzUsage: any bytes, cut anywhere, give the same, and no panic.
func FuzzUsage(f *testing.F) {
	for _, a := range answers {
		f.Add(a.path, a.kind, a.body, uint8(3))
	}
	f.Fuzz(func(t *testing.T, path, kind, body string, size uint8) {
		whole, parts := newUsage("chatgpt.com", path, kind), newUsage("chatgpt.com", path, kind)
		if whole == nil {
			return
		}
		feed(t, whole, body, len(body))
		feed(t, parts, body, 1+int(size))
		if whole.Result() != parts.Result() {
			t.Errorf("got %+v and %+v", whole.Result(), parts.Result())
		}
		for _, n := range []int64{whole.Result().TokensIn, whole.Result().TokensOut, whole.Result().TokensCached} {
			if n < 0 {
				t.Errorf("got %+v", whole.Result())
			}
		}
		if cap(parts.doc.value) > 4*maxValue || len(whole.model) > 4*maxValue {
			t.Errorf("it keeps %d bytes", cap(parts.doc.value))
		}
	})
}

func BenchmarkUsage(b *testing.B) {
	event := `data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"` + strings.Repeat("word ", 10) + "\"}}\n\n"
	for name, body := range map[string]string{"events": strings.Repeat("event: content_block_delta\n"+event, 100), "text": fmt.Sprintf("data: %q\n\n", strings.Repeat("a", 32<<10))} {
		b.Run(name, func(b *testing.B) {
			u := newUsage("api.anthropic.com", "/v1/messages", "text/event-stream")
			data := []byte(body)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = u.Write(data)
			}
		})
	}
}

// What a model's answer cost is in the event of its request, streamed or not.
func TestTheEventTellsWhatAnAnswerCost(t *testing.T) {
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("stream") == "" {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"type":"message","model":"claude-x","content":[{"type":"text","text":"hi"}],"usage":{"input_tokens":11,"output_tokens":7}}`)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for _, event := range []string{
			`{"type":"message_start","message":{"model":"claude-x","usage":{"input_tokens":11,"output_tokens":1}}}`,
			`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7}}`,
		} {
			_, _ = io.WriteString(w, "data: "+event+"\n\n")
			_ = http.NewResponseController(w).Flush()
		}
	})
	for _, query := range []string{"", "?stream=1"} {
		l := newLab(t, up.route("api.anthropic.com", keyAuth()))
		get(t, l.client(t, true), request(t, "POST", "https://api.anthropic.com/v1/messages"+query, strings.NewReader("{}")))
		l.awaitEvent(t, "usage "+query, func(e audit.Event) bool { return e.Model == "claude-x" && e.TokensIn == 11 && e.TokensOut == 7 })
	}
}
