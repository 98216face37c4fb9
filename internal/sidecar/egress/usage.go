package egress

import (
	"bytes"
	"encoding/json"
	"mime"
	"strconv"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/audit"
)

// api is a language model's protocol.
type api int

const (
	messages  api = iota + 1 // Anthropic Messages
	chat                     // OpenAI Chat Completions
	responses                // OpenAI Responses
	gemini                   // Google generateContent
)

// usage reads out of a model's answer, as it passes, which model it was and what it cost.
// It keeps a few hundred bytes, whatever comes, and takes no byte for more than it is: what
// is not in its place is skipped. Only keys outside of every list count, so neither what
// the model says nor the arguments it gives a tool can be taken for its usage.
//
// The answer must be decoded already. It is not for concurrent use.
type usage struct {
	api    api
	events bool // server-sent events, each with a document of its own
	line   sseLine
	doc    jsonReader

	model                          string
	in, out, cached, more, thought int64 // more: of the input, not in in
}

// newUsage returns a reader for an answer of a language model, nil for any other. Many
// hosts speak these protocols, so the path decides; host is asked where a path is common.
func newUsage(host, path, contentType string) *usage {
	protocol := modelAPI(host, path)
	if protocol == 0 {
		return nil
	}
	kind, _, _ := mime.ParseMediaType(contentType)
	if kind != "" && kind != "application/json" && kind != "text/event-stream" {
		return nil
	}
	return &usage{api: protocol, events: kind == "text/event-stream"}
}

func modelAPI(host, path string) api {
	switch {
	case strings.HasSuffix(path, "/v1/messages"):
		return messages
	case strings.HasSuffix(path, "/chat/completions"):
		return chat
	case strings.HasSuffix(path, "/v1/responses"), strings.HasSuffix(path, "/responses") && (host == "chatgpt.com" || host == "api.openai.com" || strings.HasSuffix(host, ".openai.azure.com")):
		return responses
	case strings.HasSuffix(path, ":generateContent"), strings.HasSuffix(path, ":streamGenerateContent"):
		return gemini
	}
	return 0
}

// isModel reports whether a request is a conversation with a language model, also one that
// asks for no answer.
func isModel(host, path string) bool {
	for _, end := range []string{"/v1/messages/count_tokens", ":countTokens", "/completions", "/v1/embeddings"} {
		if strings.HasSuffix(path, end) {
			return true
		}
	}
	return modelAPI(host, path) != 0
}

// Write takes the next bytes of the answer. It never fails.
func (u *usage) Write(p []byte) (int, error) {
	if !u.events {
		u.doc.read(p, u.found)
		return len(p), nil
	}
	for rest := p; len(rest) > 0; {
		data, n, ended := u.line.next(rest)
		u.doc.read(data, u.found)
		if ended {
			u.doc.reset()
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// Result is what is known so far.
func (u *usage) Result() audit.Usage {
	r := audit.Usage{Model: u.model, TokensIn: u.in + u.more, TokensOut: u.out + u.thought, TokensCached: u.cached}
	if u.api == messages { // which counts what came from a cache apart
		r.TokensIn += u.cached
	}
	return r
}

// found takes a value at its place in a document. Every count is that of the answer so
// far, so the largest is the last.
func (u *usage) found(place string, value []byte, text bool) {
	if text {
		if u.namesModel(place) && u.model == "" {
			u.model = unquote(value)
		}
		return
	}
	count := u.counter(place)
	if count == nil {
		return
	}
	if n, err := strconv.ParseInt(string(value), 10, 64); err == nil && n <= maxTokens {
		*count = max(*count, n)
	}
}

// maxTokens is more than any answer takes; sums of it do not overflow.
const maxTokens = 1 << 40

func (u *usage) namesModel(place string) bool {
	switch u.api {
	case messages:
		return place == "model" || u.events && place == "message.model"
	case responses:
		return place == "model" || u.events && place == "response.model"
	case gemini:
		return place == "modelVersion"
	}
	return place == "model"
}

func (u *usage) counter(place string) *int64 {
	field := func(parent string) string {
		rest, _ := strings.CutPrefix(place, parent)
		if rest == place {
			return ""
		}
		return rest
	}
	switch u.api {
	case messages:
		if u.events && field("message.usage.") != "" {
			place = field("message.")
		}
		return u.messagesCounter(field("usage."))
	case chat:
		return u.chatCounter(field("usage."))
	case responses:
		if u.events && field("response.usage.") != "" {
			place = field("response.")
		}
		return u.responsesCounter(field("usage."))
	}
	return u.geminiCounter(field("usageMetadata."))
}

func (u *usage) messagesCounter(field string) *int64 {
	switch field {
	case "input_tokens":
		return &u.in
	case "output_tokens":
		return &u.out
	case "cache_read_input_tokens":
		return &u.cached
	case "cache_creation_input_tokens":
		return &u.more
	}
	return nil
}

func (u *usage) chatCounter(field string) *int64 {
	switch field {
	case "prompt_tokens":
		return &u.in
	case "completion_tokens":
		return &u.out
	case "prompt_tokens_details.cached_tokens":
		return &u.cached
	}
	return nil
}

func (u *usage) responsesCounter(field string) *int64 {
	switch field {
	case "input_tokens":
		return &u.in
	case "output_tokens":
		return &u.out
	case "input_tokens_details.cached_tokens":
		return &u.cached
	}
	return nil
}

func (u *usage) geminiCounter(field string) *int64 {
	switch field {
	case "promptTokenCount":
		return &u.in
	case "candidatesTokenCount":
		return &u.out
	case "toolUsePromptTokenCount":
		return &u.more
	case "thoughtsTokenCount":
		return &u.thought
	case "cachedContentTokenCount":
		return &u.cached
	}
	return nil
}

// sseLine takes a stream of server-sent events apart (HTML §9.2.6), however it is cut.
type sseLine struct {
	at    int  // bytes of the line that were read, as far as they matter
	other bool // the line is no data
	cr    bool // a line feed may follow that belongs to the line's end
}

const sseData = "data:"

// next returns the data that p begins with, how much of p it has read, at least a byte, and
// whether the event ended.
func (l *sseLine) next(p []byte) (data []byte, n int, ended bool) {
	if l.cr && p[0] == '\n' {
		l.cr = false
		return nil, 1, false
	}
	l.cr = false
	if !l.other && l.at < len(sseData) {
		if p[0] == '\r' || p[0] == '\n' {
			ended = l.at == 0
			l.endOfLine(p[0])
			return nil, 1, ended
		}
		l.other = p[0] != sseData[l.at]
		l.at++
		return nil, 1, false
	}
	end := bytes.IndexAny(p, "\r\n")
	if end == 0 {
		l.endOfLine(p[0])
		return nil, 1, false
	}
	if end < 0 {
		end = len(p)
	}
	if l.other {
		return nil, end, false
	}
	return p[:end], end, false
}

func (l *sseLine) endOfLine(c byte) { l.at, l.other, l.cr = 0, false, c == '\r' }

// Bounds of what a jsonReader keeps.
const (
	maxLevels = 4   // of objects; what is deeper is none of ours
	maxValue  = 128 // bytes of a key or a value
)

// jsonReader finds values in a JSON document by the keys that lead to them, however it is
// cut. It takes anything: of what is no JSON it makes no sense, and does no harm. A list
// around the whole document is read over; what is in any other list is not found.
type jsonReader struct {
	levels  [maxLevels]jsonLevel
	depth   int // of what is open, also below levels
	quoted  bool
	escaped bool
	value   []byte // of the string or the number at hand, up to maxValue and one
}

type jsonLevel struct {
	list bool
	key  []byte
	due  bool // a key comes next
}

func (j *jsonReader) reset() {
	j.depth, j.quoted, j.escaped, j.value = 0, false, false, j.value[:0]
}

// top is the innermost of what is open, nil if that is none of ours.
func (j *jsonReader) top() *jsonLevel {
	if j.depth == 0 || j.depth > maxLevels {
		return nil
	}
	return &j.levels[j.depth-1]
}

func (j *jsonReader) keep(p []byte) {
	if room := maxValue + 1 - len(j.value); room > 0 {
		j.value = append(j.value, p[:min(room, len(p))]...)
	}
}

func (j *jsonReader) read(p []byte, found func(place string, value []byte, text bool)) {
	for i := 0; i < len(p); i++ {
		if j.quoted {
			i += j.inString(p[i:], found) - 1
			continue
		}
		switch c := p[i]; c {
		case '"':
			j.quoted, j.value = true, j.value[:0]
		case '{', '[':
			j.open(c == '[')
		case '}', ']':
			j.report(found, false)
			j.depth = max(0, j.depth-1)
		case ',':
			j.report(found, false)
			if top := j.top(); top != nil {
				top.due = !top.list
			}
		case ':':
			if top := j.top(); top != nil {
				top.due = false
			}
		case ' ', '\t', '\r', '\n':
		default:
			j.keep(p[i : i+1])
		}
	}
}

// inString reads up to the end of a string, and returns how much of p that was.
func (j *jsonReader) inString(p []byte, found func(string, []byte, bool)) int {
	if j.escaped {
		j.escaped = false
		j.keep(p[:1])
		return 1
	}
	end := bytes.IndexAny(p, `"\`)
	if end < 0 {
		j.keep(p)
		return len(p)
	}
	j.keep(p[:end])
	if p[end] == '\\' {
		j.escaped = true
		j.keep(p[end : end+1])
		return end + 1
	}
	j.quoted = false
	if top := j.top(); top != nil && top.due {
		top.key = append(top.key[:0], j.value...)
		j.value = j.value[:0]
	} else {
		j.report(found, true)
	}
	return end + 1
}

func (j *jsonReader) open(list bool) {
	j.value = j.value[:0]
	j.depth++
	if top := j.top(); top != nil {
		top.list, top.due, top.key = list, !list, top.key[:0]
	}
}

// report hands over the value at hand, if it is whole and in an object of ours.
func (j *jsonReader) report(found func(string, []byte, bool), text bool) {
	value := j.value
	j.value = j.value[:0]
	if top := j.top(); top == nil || top.list || len(value) == 0 || len(value) > maxValue {
		return
	}
	levels := j.levels[:j.depth]
	if levels[0].list {
		levels = levels[1:]
	}
	place := make([]byte, 0, maxLevels*16)
	for i, level := range levels {
		if level.list || len(level.key) > maxValue {
			return
		}
		if i > 0 {
			place = append(place, '.')
		}
		place = append(place, level.key...)
	}
	found(string(place), value, text)
}

// unquote undoes the escapes of a JSON string.
func unquote(raw []byte) string {
	var s string
	if json.Unmarshal(append(append([]byte{'"'}, raw...), '"'), &s) != nil {
		return ""
	}
	return s
}
