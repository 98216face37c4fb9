package main

import (
	"encoding/json"
	"fmt"
	"strings"
)

// figure is one result.
type figure struct {
	name  string
	value float64
	unit  string
	bound bound
	aim   float64
	why   string // it was not measured
}

// bound is on which side of its aim a figure has to be.
type bound string

const (
	none  bound = "" // it is only reported
	most  bound = "≤"
	least bound = "≥"
)

func report(name string, value float64, unit string) figure {
	return figure{name: name, value: value, unit: unit}
}

func atMost(name string, value float64, unit string, aim float64) figure {
	return figure{name: name, value: value, unit: unit, bound: most, aim: aim}
}

func atLeast(name string, value float64, unit string, aim float64) figure {
	return figure{name: name, value: value, unit: unit, bound: least, aim: aim}
}

// unmeasured misses its aim, if it has one.
func (f figure) unmeasured(why string) figure {
	f.why = why
	return f
}

func (f figure) pass() bool {
	return f.why == "" && (f.bound == most && f.value <= f.aim || f.bound == least && f.value >= f.aim)
}

// MarshalJSON writes null for an aim and a pass that there are not, and for a value that
// was not measured.
func (f figure) MarshalJSON() ([]byte, error) {
	out := struct {
		Name  string   `json:"name"`
		Value *float64 `json:"value"`
		Unit  string   `json:"unit"`
		Aim   *float64 `json:"aim"`
		Pass  *bool    `json:"pass"`
	}{Name: f.name, Unit: f.unit}
	if f.why == "" {
		out.Value = &f.value
	}
	if f.bound != none {
		pass := f.pass()
		out.Aim, out.Pass = &f.aim, &pass
	}
	return json.Marshal(out)
}

func (f figure) String() string {
	value, aim, verdict := fmt.Sprintf("%.2f", f.value), "", ""
	if f.why != "" {
		value = "-"
	}
	if f.bound != none {
		aim = strings.TrimSuffix(fmt.Sprintf("aim %s %.2f", f.bound, f.aim), ".00")
		verdict = "MISSED"
	}
	if f.pass() {
		verdict = "pass"
	}
	if f.why != "" {
		verdict = strings.TrimSpace(verdict + " not measured: " + f.why)
	}
	return strings.TrimRight(fmt.Sprintf("%-32s %10s %-6s %-12s %s", f.name, value, f.unit, aim, verdict), " ")
}
