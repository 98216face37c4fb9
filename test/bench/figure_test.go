package main

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFigure(t *testing.T) {
	for name, test := range map[string]struct {
		figure     figure
		line, json string
	}{
		"at most, met": {
			atMost("a.ms", 0.5, "ms", 0.5),
			"a.ms                                   0.50 ms     aim ≤ 0.50   pass",
			`{"name":"a.ms","value":0.5,"unit":"ms","aim":0.5,"pass":true}`,
		},
		"at most, missed": {
			atMost("a.ms", 4, "ms", 3),
			"a.ms                                   4.00 ms     aim ≤ 3      MISSED",
			`{"name":"a.ms","value":4,"unit":"ms","aim":3,"pass":false}`,
		},
		"at least, met": {
			atLeast("a.share", 12, "×", 10),
			"a.share                               12.00 ×      aim ≥ 10     pass",
			`{"name":"a.share","value":12,"unit":"×","aim":10,"pass":true}`,
		},
		"at least, missed": {
			atLeast("a.share", 9, "×", 10),
			"a.share                                9.00 ×      aim ≥ 10     MISSED",
			`{"name":"a.share","value":9,"unit":"×","aim":10,"pass":false}`,
		},
		"without an aim": {
			report("a.ms", 0, "ms"),
			"a.ms                                   0.00 ms",
			`{"name":"a.ms","value":0,"unit":"ms","aim":null,"pass":null}`,
		},
		"not measured": {
			atMost("a.ms", 0, "ms", 3).unmeasured("no clock"),
			"a.ms                                      - ms     aim ≤ 3      MISSED not measured: no clock",
			`{"name":"a.ms","value":null,"unit":"ms","aim":3,"pass":false}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := json.Marshal(test.figure)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{test.line, test.json}, []string{test.figure.String(), string(data)}); diff != "" {
				t.Error(diff)
			}
		})
	}
}
