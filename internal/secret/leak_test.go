package secret

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"
	"testing"
	"text/template"
)

const canary = "hunter2-hunter2"

// leaks reports whether text holds the canary in any of the forms that a verb or an
// encoder would give it.
func leaks(text string) bool {
	var decimal []string
	for _, b := range []byte(canary) {
		decimal = append(decimal, fmt.Sprint(b))
	}
	for _, form := range []string{
		canary[:7], hex.EncodeToString([]byte(canary[:7])), strings.ToUpper(hex.EncodeToString([]byte(canary[:7]))),
		base64.StdEncoding.EncodeToString([]byte(canary))[:9], strings.Join(decimal[:7], " "), strings.Join(decimal[:7], ","), fmt.Sprintf("% x", canary[:7]), fmt.Sprintf("%# x", canary[:7]),
	} {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}

type embedded struct{ Value }

type embeddedPointer struct{ *Value }

type unexported struct {
	v  Value
	p  *Value
	l  []Value
	a  [1]Value
	m  map[string]Value
	k  map[Value]string
	i  any
	n  struct{ deep struct{ v Value } }
	f  func() Value
	pp **Value
}

type exported struct {
	V Value
	P *Value
	L []Value
	A [1]Value
	M map[string]Value
	K map[Value]string
	I any
	N struct{ Deep struct{ V Value } }
}

// holders is everything that may come to hold a secret.
func holders() map[string]any {
	v := New(canary)
	p := &v
	u := unexported{v: v, p: p, l: []Value{v}, a: [1]Value{v}, m: map[string]Value{"k": v}, k: map[Value]string{v: "x"}, i: v, f: func() Value { return v }, pp: &p}
	u.n.deep.v = v
	e := exported{V: v, P: p, L: []Value{v}, A: [1]Value{v}, M: map[string]Value{"k": v}, K: map[Value]string{v: "x"}, I: p}
	e.N.Deep.V = v
	return map[string]any{
		"value": v, "pointer": p, "pointer to pointer": &p, "list": []Value{v}, "map": map[string]Value{"k": v}, "key": map[Value]int{v: 1}, "any": []any{v, p},
		"embedded": embedded{v}, "pointer to embedded": &embedded{v}, "embedded pointer": embeddedPointer{p},
		"unexported": u, "pointer to unexported": &u, "list of unexported": []unexported{u}, "map to unexported": map[string]*unexported{"k": &u},
		"exported": e, "pointer to exported": &e, "map to exported": map[string]exported{"k": e}, "error": fmt.Errorf("x: %v, %w", v, holdsInError{v}), "joined": errors.Join(holdsInError{v}, &holdsInError{v}),
	}
}

type holdsInError struct{ v Value }

func (e holdsInError) Error() string { return fmt.Sprintf("cannot use %v", e.v) }

// Attack C10: whatever holds a secret is printed, with every verb and flag there is.
func TestAttackC10_NoVerbRevealsASecret(t *testing.T) {
	for name, holder := range holders() {
		for _, flags := range []string{"", "+", "#", "-", " ", "0", "+#", "# ", "30", "-30", ".3", "30.20"} {
			for verb := 'A'; verb <= 'z'; verb++ {
				if out := fmt.Sprintf("%"+flags+string(verb), holder); leaks(out) {
					t.Errorf("%s with %%%s%c: %s", name, flags, verb, out)
				}
			}
		}
		for _, format := range []string{"%[2]v %[1]d", "%!", "none", "%*v", "%v %v"} { // wrong ones too
			if out := fmt.Sprintf(format, holder, holder) + fmt.Sprint(holder) + fmt.Sprintln(holder); leaks(out) {
				t.Errorf("%s: %s", name, out)
			}
		}
	}
}

// Attack C10: whatever holds a secret is encoded or logged.
func TestAttackC10_NoEncoderRevealsASecret(t *testing.T) {
	for name, holder := range holders() {
		var out bytes.Buffer
		for _, encode := range []func(io.Writer, any) error{
			func(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) },
			func(w io.Writer, v any) error { return xml.NewEncoder(w).Encode(v) },
			func(w io.Writer, v any) error { return gob.NewEncoder(w).Encode(v) },
			func(w io.Writer, v any) error {
				return template.Must(template.New("").Parse(`{{.}} {{printf "%#v" .}} {{print .}} {{html .}} {{js .}}`)).Execute(w, v)
			},
		} {
			if err := encode(&out, holder); err != nil {
				out.WriteString(err.Error())
			}
		}
		options := &slog.HandlerOptions{AddSource: true, Level: slog.LevelDebug}
		for _, handler := range []slog.Handler{slog.NewJSONHandler(&out, options), slog.NewTextHandler(&out, options)} {
			l := slog.New(handler).With("with", holder).WithGroup("group")
			l.Info("x", "attribute", holder, slog.Group("g", "inner", holder), slog.Any("any", holder))
		}
		log.New(&out, "", 0).Println(holder)
		if leaks(out.String()) {
			t.Errorf("%s: %s", name, out.String())
		}
	}
}

// The zero Value is printed like any other: whether there is a secret is nobody's business.
func TestTheZeroValueLooksLikeAnyOther(t *testing.T) {
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if zero, full := fmt.Sprintf(verb, Value{}), fmt.Sprintf(verb, New(canary)); zero != full {
			t.Errorf("%s: got %q and %q", verb, zero, full)
		}
	}
	text, err := Value{}.MarshalText()
	if err != nil || string(text) != "[redacted]" || New("").GoString() != "[redacted]" || New("").String() != "[redacted]" {
		t.Errorf("got %s, %v", text, err)
	}
	if !New("").Empty() || New("").Reveal() != "" || (Value{}).Reveal() != "" {
		t.Error("an empty value is not empty")
	}
}

// The test would see a leak: the form that a plain string takes is found.
func TestLeaksAreSeen(t *testing.T) {
	type plain struct{ s string }
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x"} {
		if out := fmt.Sprintf(verb, plain{canary}); !leaks(out) {
			t.Errorf("%s: %s", verb, out)
		}
	}
	if !leaks(fmt.Sprint([]byte(canary))) || !leaks(base64.StdEncoding.EncodeToString([]byte(canary))) {
		t.Error("bytes are not seen")
	}
}
