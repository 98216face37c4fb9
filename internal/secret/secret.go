// Package secret holds values that must never be printed.
//
// A Value keeps its bytes behind a pointer, so that no fmt verb, JSON encoder or
// logger can reach them by reflection. It must never grow a String method that
// tells the truth: whoever needs the bytes says Reveal, and grep finds them all.
package secret

import (
	"fmt"
	"log/slog"
)

const redacted = "[redacted]"

// Value is a secret string. The zero Value is empty. Values are immutable and
// may be used concurrently.
type Value struct{ p *string }

// New wraps s.
func New(s string) Value { return Value{&s} }

// Reveal returns the secret itself. Call it only where the bytes leave for the
// one place that needs them.
func (v Value) Reveal() string {
	if v.p == nil {
		return ""
	}
	return *v.p
}

// Empty reports whether there is nothing to hide.
func (v Value) Empty() bool { return v.Reveal() == "" }

// Format implements fmt.Formatter: every verb prints [redacted].
func (v Value) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// String returns [redacted].
func (v Value) String() string { return redacted }

// GoString returns [redacted].
func (v Value) GoString() string { return redacted }

// MarshalText encodes as [redacted], also inside JSON and YAML.
func (v Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue logs as [redacted].
func (v Value) LogValue() slog.Value { return slog.StringValue(redacted) }
