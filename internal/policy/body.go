package policy

import (
	"bytes"
	"encoding/json"
	"mime"
	"strings"
	"unicode/utf8"
)

// MaxBody is how much of a body is read to decide about it. A condition holds for no
// longer one.
const MaxBody = 4 << 20

// Body is a request's body, whole, with the headers that say how to read it. Of one that
// is longer than MaxBody, MaxBody+1 bytes are enough.
type Body struct {
	Type     []string // every Content-Type
	Encoding []string // every Content-Encoding
	Data     []byte
}

// document returns the one JSON object that a body is, or says why it is none that
// everybody reads alike.
func (b *Body) document() (json.RawMessage, string) {
	switch {
	case len(b.Data) > MaxBody:
		return nil, "the body is too long to look at"
	case len(b.Type) != 1 || !isJSON(b.Type[0]):
		return nil, "the body is not application/json in UTF-8"
	case len(b.Encoding) > 1 || len(b.Encoding) == 1 && !strings.EqualFold(b.Encoding[0], "identity"):
		return nil, "the body is encoded"
	case !utf8.Valid(b.Data) || !json.Valid(b.Data):
		return nil, "the body is not one JSON document"
	}
	return b.Data, ""
}

func isJSON(contentType string) bool {
	kind, parameters, err := mime.ParseMediaType(contentType)
	charset, ok := parameters["charset"]
	return err == nil && kind == "application/json" && (len(parameters) == 0 || len(parameters) == 1 && ok && strings.EqualFold(charset, "utf-8"))
}

// body looks for the condition's field in a document.
func (c condition) body(document json.RawMessage, loose bool) (answer, string) {
	value := document
	for name := range strings.SplitSeq(c.name, ".") {
		var found answer
		if value, found = field(value, name); found == unclear {
			return unclear, "body field " + c.name + " stands twice, by another spelling, or not in an object"
		} else if found == no {
			return no, "there is no body field " + c.name
		}
	}
	a := c.scalar(value, loose)
	if a == unclear {
		return unclear, "body field " + c.name + " is no plain text, whole number, true or false"
	}
	return a, "body field " + c.name + " is another"
}

// field returns a field of an object. Another one that differs in case only, or whose
// name some parsers cut off or mend, makes it unclear.
func field(object json.RawMessage, name string) (json.RawMessage, answer) {
	d := json.NewDecoder(bytes.NewReader(object))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, unclear
	}
	var value json.RawMessage
	found := no
	for d.More() {
		t, err := d.Token()
		key, ok := t.(string)
		if err != nil || !ok || strings.ContainsFunc(key, control) || strings.ContainsRune(key, utf8.RuneError) {
			return nil, unclear
		}
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return nil, unclear
		}
		if fold(strings.TrimSpace(key)) != fold(name) {
			continue
		}
		if found == yes || key != name {
			return nil, unclear
		}
		value, found = v, yes
	}
	return value, found
}

// scalar compares text, whole numbers, true, false and null. The last three are meant by
// a pattern that reads the same, never text: "false" is true to many a program.
func (c condition) scalar(value json.RawMessage, loose bool) answer {
	literal := string(value)
	isLiteral := func(s string) bool { return s == "true" || s == "false" || s == "null" }
	switch {
	case isLiteral(literal) && c.pattern == literal:
		return yes
	case isLiteral(literal) && !loose:
		return no
	case isLiteral(literal):
		return literalUnless(c.wild())
	case wholeNumber(literal):
		return c.text(literal, loose)
	}
	var text string
	if literal[0] != '"' || json.Unmarshal(value, &text) != nil {
		return unclear
	}
	unfit := func(r rune) bool { return r == utf8.RuneError || control(r) && r != '\n' && r != '\r' && r != '\t' }
	if isLiteral(c.pattern) || strings.ContainsFunc(text, unfit) {
		return unclear
	}
	return c.text(text, loose)
}

// literalUnless is the answer of a deny rule about true, false or null: a glob is of text.
func literalUnless(wild bool) answer {
	if wild {
		return unclear
	}
	return no
}

// wholeNumber reports whether a number is written as everybody writes it.
func wholeNumber(s string) bool {
	digits := strings.TrimPrefix(s, "-")
	return digits != "" && strings.Trim(digits, "0123456789") == "" && (s == "0" || digits[0] != '0')
}
