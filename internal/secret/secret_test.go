package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// Attack C10: a secret is printed by whoever logs what holds it.
func TestAttackC10_NothingPrintsASecret(t *testing.T) {
	const hidden = "hunter2-hunter2"
	type inner struct{ v Value }
	type holder struct {
		Value
		V     Value
		P     *Value
		M     map[string]Value
		L     []Value
		inner inner
		any   any
	}
	v := New(hidden)
	h := holder{v, v, &v, map[string]Value{"a": v}, []Value{v}, inner{v}, v}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p", "%10s", "%.3s"} {
		for _, what := range []any{v, &v, h, &h, []any{h}, map[string]any{"h": h}, inner{v}, errors.Join(fmt.Errorf("x: %v", v))} {
			_, _ = fmt.Fprintf(&out, verb+"\n", what)
		}
	}
	if data, err := json.Marshal(h); err == nil {
		out.Write(data)
	}
	for _, log := range []*slog.Logger{slog.New(slog.NewJSONHandler(&out, nil)), slog.New(slog.NewTextHandler(&out, nil))} {
		log.Info("x", "v", v, "h", h, "p", &v)
	}
	if strings.Contains(out.String(), "hunter2") || strings.Contains(out.String(), fmt.Sprintf("%x", hidden)) {
		t.Errorf("printed:\n%s", out.String())
	}
	if v.Reveal() != hidden || v.Empty() || !(Value{}).Empty() {
		t.Error("a value does not hold what it was given")
	}
}
