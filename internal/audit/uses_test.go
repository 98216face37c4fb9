package audit

import (
	"maps"
	"testing"
)

func TestUses(t *testing.T) {
	open, ahead := Event{Grant: "k-1", Phase: Open, Decision: Allow}, Event{Grant: "k-1", Phase: Ahead, Decision: Allow}
	end, cut := Event{Grant: "k-1", Decision: Allow}, Event{Grant: "k-1", Decision: Deny}
	sent, refused := Event{Kind: Push, Grant: "k-1", Phase: Ahead, Decision: Allow}, Event{Kind: Push, Grant: "k-1", Decision: Deny}
	for name, test := range map[string]struct {
		events []Event
		lost   bool
		want   int64
	}{
		"a request":                     {[]Event{ahead, end}, false, 1},
		"an upload":                     {[]Event{open, end}, false, 1},
		"one that was cut":              {[]Event{open, cut}, false, 1},
		"one that never began":          {[]Event{cut}, false, 0},
		"one that nobody can tell of":   {[]Event{{Grant: "k-1", Decision: Unknown}}, false, 1},
		"a push that was refused":       {[]Event{sent, refused}, true, 0},
		"a push whose gate was killed":  {[]Event{sent}, true, 1},
		"a push after one of those":     {[]Event{sent, sent, refused}, true, 1},
		"one without a beginning":       {[]Event{end}, false, 1},
		"two at once":                   {[]Event{ahead, open, end, cut}, false, 2},
		"one that goes on":              {[]Event{ahead, end, open}, false, 1},
		"one whose service was killed":  {[]Event{ahead, end, open}, true, 2},
		"of a service started since":    {[]Event{open, ahead, end}, true, 2},
		"what is no use of any grant's": {[]Event{{Decision: Allow}, {Phase: Open, Decision: Allow}}, true, 0},
	} {
		var u Uses
		heard := int64(0)
		for _, e := range test.events {
			if u.Hear(e) {
				heard++
			}
		}
		if test.lost {
			u.Lost()
			heard = test.want
		}
		want := map[string]int64{"k-1": test.want}
		if test.want == 0 {
			want = nil
		}
		if got := u.Take(); !maps.Equal(got, want) || heard != test.want || len(u.Take()) > 0 {
			t.Errorf("%s: got %v, heard of %d", name, got, heard)
		}
	}
}
