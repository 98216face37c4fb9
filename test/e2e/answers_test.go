package e2e

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/bot-bottle/bot-bottle/test/lab"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// everyAgent is each command line that has a vendor.
func everyAgent() map[string]vendor {
	all := maps.Clone(vendors())
	all["claude"] = vendor{template: "claude", host: standin.Host, secret: "ANTHROPIC_API_KEY", auth: "scheme: header, header: x-api-key", headless: []string{"-p"}}
	return all
}

// asksModel reports whether a request is one to a model for its answer.
func asksModel(r *http.Request) bool {
	return strings.HasSuffix(r.URL.Path, "/messages") || strings.HasSuffix(r.URL.Path, "/responses") || strings.HasSuffix(r.URL.Path, ":streamGenerateContent")
}

// say has an agent say something, to its end, whatever that is.
func (h house) say(v vendor) lab.Result {
	h.t.Helper()
	h.hire(v, "")
	r, err := h.Run(h.t.Context(), strings.NewReader(""), slices.Concat([]string{"start", "-y", "--rm", v.template, "--"}, v.headless, []string{"say something"})...)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// What a vendor says against a request reaches who runs the agent, and the agent's own status does.
func TestEveryAgentTellsWhatItsVendorRefuses(t *testing.T) {
	t.Parallel()
	for name, v := range everyAgent() {
		t.Run(name, func(t *testing.T) {
			h := open(t, standin.Options{Fault: func(w http.ResponseWriter, r *http.Request) bool {
				if !asksModel(r) && !strings.HasSuffix(r.URL.Path, ":generateContent") {
					return false
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusBadRequest)
				_, _ = io.WriteString(w, `{"type":"error","error":{"type":"invalid_request_error","code":400,"message":"the vendor wants no KUMQUAT-5831"}}`)
				return true
			}})
			if r := h.say(v); r.Code == 0 || !strings.Contains(r.Stdout+r.Stderr, "KUMQUAT-5831") {
				t.Errorf("got status %d, %q, %s", r.Code, r.Stdout, r.Stderr)
			}
		})
	}
}

// An answer that breaks off is no whole one to the agent: it asks again, or says what happened.
func TestAnAnswerThatBreaksOff(t *testing.T) {
	t.Parallel()
	for name, v := range everyAgent() {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			h := open(t, standin.Options{Answer: "noted", Fault: func(w http.ResponseWriter, r *http.Request) bool {
				return asksModel(r) && asked.Add(1) == 1 && breakOff(w, r)
			}})
			r := h.say(v)
			again := r.Code == 0 && strings.TrimSpace(r.Stdout) == "noted" && asked.Load() > 1
			told := r.Code != 0 && strings.Contains(r.Stderr, "terminated")
			if name == "gemini" && !told && !again || name != "gemini" && !again {
				t.Errorf("got status %d, %q after %d requests, %s", r.Code, r.Stdout, asked.Load(), r.Stderr)
			}
		})
	}
}

// breakOff begins an answer, and hangs up.
func breakOff(w http.ResponseWriter, r *http.Request) bool {
	begun := map[string]string{
		"/v1/messages":  `{"type":"message_start","message":{"id":"msg_01","type":"message","role":"assistant","model":"x","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":10,"output_tokens":1}}}`,
		"/v1/responses": `{"type":"response.created","response":{"id":"resp_01","object":"response","created_at":1700000000,"model":"x","status":"in_progress","output":[]}}`,
	}[r.URL.Path]
	if begun == "" {
		begun = `{"candidates":[{"content":{"role":"model","parts":[{"text":"HALF "}]},"index":0}]}`
	}
	if r.Header.Get("Upgrade") != "" {
		socket, err := websocket.Accept(w, r, nil)
		if err != nil {
			return true
		}
		socket.SetReadLimit(32 << 20)
		_, _, _ = socket.Read(r.Context())
		_ = socket.Write(r.Context(), websocket.MessageText, []byte(begun))
		_ = socket.CloseNow()
		return true
	}
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = fmt.Fprintf(w, "data: %s\n\n", begun)
	_ = http.NewResponseController(w).Flush()
	time.Sleep(100 * time.Millisecond) // so that it arrives
	panic(http.ErrAbortHandler)
}

// An answer of megabytes comes whole, in however many events.
func TestALongAnswerComesWhole(t *testing.T) {
	t.Parallel()
	var long strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&long, "%d%s ", i, strings.Repeat("-long", 20))
	}
	for _, name := range []string{"claude", "codex"} { // Gemini CLI and opencode bound what they print themselves
		t.Run(name, func(t *testing.T) {
			h := open(t, standin.Options{Answer: long.String() + "END"})
			if r := h.say(everyAgent()[name]); strings.TrimSpace(r.Stdout) != long.String()+"END" {
				t.Errorf("got %d bytes of %d", len(r.Stdout), long.Len())
			}
		})
	}
}

// A wrong key is put right while the agent runs: the log names it, and what the agent tries again
// goes well.
func TestAWrongKeyIsPutRight(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{Answer: "PINEAPPLE-7731"})
	good := h.Key
	h.Key = lab.NewKey()
	s := h.terminal("start", "-y", "--rm", "claude")
	s.wait("bypass permissions on")
	s.enter("which fruit")
	identity := regexp.MustCompile(`claude-[a-z2-7]{6}`).FindString(h.run(0, "", "list").Stdout)
	for !strings.Contains(h.run(0, "", "logs", identity).Stdout, "the upstream does not take the value of ANTHROPIC_API_KEY") {
		time.Sleep(200 * time.Millisecond) // the test's own deadline is enough
	}
	h.Key = good
	h.run(0, "", "egress", identity, "refresh")
	s.wait("PINEAPPLE-7731")
	if code := s.leave("/exit"); code != 0 {
		t.Errorf("got status %d", code)
	}
}
