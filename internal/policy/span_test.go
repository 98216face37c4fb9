package policy

import (
	"encoding/json"
	"testing"
	"time"
)

func TestSpan(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"1h": time.Hour, "90s": 0, "1m30s": 90 * time.Second, "1h30m": 90 * time.Minute, "1h0m5s": time.Hour + 5*time.Second, "20s": 20 * time.Second, "1.5s": 1500 * time.Millisecond, "720h": 720 * time.Hour, "10m": 10 * time.Minute, "0s": 0,
	} {
		var got Span
		quoted := `"` + text + `"`
		if err := json.Unmarshal([]byte(quoted), &got); err != nil || want != 0 && time.Duration(got) != want {
			t.Errorf("%s: got %v, %v", text, time.Duration(got), err)
		}
		if text == "90s" {
			continue // it is written as 1m30s
		}
		if data, err := json.Marshal(Span(want)); err != nil || string(data) != quoted {
			t.Errorf("%v: got %s, %v; want %s", want, data, err, quoted)
		}
	}
	type holder struct {
		For Span `json:"for,omitempty"`
	}
	if data, err := json.Marshal(holder{}); err != nil || string(data) != "{}" {
		t.Errorf("got %s, %v", data, err)
	}
	var old holder
	if err := json.Unmarshal([]byte(`{"for":3600000000000}`), &old); err != nil || old.For != Span(time.Hour) {
		t.Errorf("got %v, %v", old.For, err)
	}
	absent := holder{For: Span(time.Hour)}
	if err := json.Unmarshal([]byte(`{"for":null}`), &absent); err != nil || absent.For != Span(time.Hour) {
		t.Errorf("null: got %v, %v", absent.For, err)
	}
	for _, bad := range []string{`"soon"`, `""`, `{}`, `1.5`, `true`} {
		if err := json.Unmarshal([]byte(bad), new(Span)); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}
