package manifest

import (
	"strconv"
	"strings"
	"time"
)

func asFloat(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// asSize reads bytes: a plain number, or one with a binary unit, since Docker users
// write 4g and mean 4 GiB.
func asSize(v any) (int64, bool) {
	if n, ok := v.(int64); ok {
		return n, n >= 0
	}
	text, ok := v.(string)
	if !ok {
		return 0, false
	}
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	n, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
	shift, known := shiftOf(strings.ToLower(text[len(digits):]))
	if err != nil || !known || n < 0 || n > float64(int64(1)<<(62-shift)) {
		return 0, false
	}
	return int64(n * float64(int64(1)<<shift)), true
}

// shiftOf is the power of two of a unit.
func shiftOf(unit string) (int, bool) {
	switch strings.TrimSuffix(strings.TrimSuffix(unit, "b"), "i") {
	case "":
		return 0, true
	case "k":
		return 10, true
	case "m":
		return 20, true
	case "g":
		return 30, true
	case "t":
		return 40, true
	}
	return 0, false
}

// asSpan reads a length of time: what time.ParseDuration does, and days.
func asSpan(v any) (time.Duration, bool) {
	text, _ := v.(string)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err == nil && n > 0
	}
	d, err := time.ParseDuration(text)
	return d, err == nil && d > 0
}

// text, texts, table, truth, sizeOf, wholeNumber read values that check has passed; nil is the zero value.

func text(v *value) string {
	if v == nil {
		return ""
	}
	s, _ := v.scalar.(string)
	return s
}

func texts(v *value) []string {
	if v == nil {
		return nil
	}
	var all []string
	for _, item := range v.list {
		all = append(all, text(item))
	}
	return all
}

// table reads a mapping of names to text.
func table(v *value) map[string]string {
	if v == nil {
		return nil
	}
	all := make(map[string]string)
	for _, f := range v.fields {
		all[f.key] = text(f.value)
	}
	return all
}

func truth(v *value) bool {
	if v == nil {
		return false
	}
	b, _ := v.scalar.(bool)
	return b
}

func sizeOf(v *value) int64 {
	if v == nil {
		return 0
	}
	n, _ := asSize(v.scalar)
	return n
}

func wholeNumber(v *value) int64 {
	if v == nil {
		return 0
	}
	n, _ := v.scalar.(int64)
	return n
}
