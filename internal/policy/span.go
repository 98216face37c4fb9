package policy

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Span is a length of time that people and programs read: "90s", "1h30m", "720h". 0 is none.
type Span time.Duration

// String is as time.ParseDuration reads it, without zeros at its end.
func (s Span) String() string {
	text := time.Duration(s).String()
	if rest, ok := strings.CutSuffix(text, "m0s"); ok {
		text = rest + "m"
	}
	if rest, ok := strings.CutSuffix(text, "h0m"); ok {
		text = rest + "h"
	}
	return text
}

// MarshalText implements encoding.TextMarshaler.
func (s Span) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalJSON reads what MarshalText writes, and nanoseconds, which were written once.
func (s *Span) UnmarshalJSON(data []byte) error {
	var text string
	if string(data) == "null" { // as every other field takes it: it is not there
		return nil
	}
	if json.Unmarshal(data, &text) != nil {
		return json.Unmarshal(data, (*time.Duration)(s))
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is no length of time", text)
	}
	*s = Span(d)
	return nil
}
