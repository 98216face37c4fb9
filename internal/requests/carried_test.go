package requests

import (
	"errors"
	"testing"
	"time"
)

// Attack G5: an approval is carried over to what nobody approved: more at the same host, the same again
// after it ended, another run of the bottle, another bottle. An agent waits for the first yes and
// lives on it. Each of these is asked for, shown and decided by itself.
func TestAttackG5_AnApprovalCarriesNothingOver(t *testing.T) {
	l := New("k")
	first := egress("docs.example", []string{"GET"}, []string{"/a"})
	r := mustAsk(t, l, t0, first)
	digest := l.Show(r, base()).Digest
	approve(t, l, t0, r.ID, Scope{})
	if !reaches(t, l, "docs.example", "/a") {
		t.Fatal("what was approved is not there")
	}

	more := mustAsk(t, l, t0, egress("docs.example", []string{"GET", "POST"}, []string{"/a", "/b"}))
	if more.State != Pending || more.ID == r.ID || reaches(t, l, "docs.example", "/b") || does(t, l, "POST", "docs.example", "/a") {
		t.Errorf("more at the same host: got %+v", more)
	}
	if _, err := l.Decide(t0, more.ID, base(), Decision{Approve: true, Digest: digest}); !errors.Is(err, ErrChanged) {
		t.Errorf("an earlier digest for it: got %v", err)
	}

	again := New("k")
	again.Load(t0.Add(time.Hour), l.All())
	if reaches(t, again, "docs.example", "/a") {
		t.Error("another run has it")
	}
	if same := mustAsk(t, again, t0.Add(time.Hour), first); same.State != Pending || same.ID == r.ID || reaches(t, again, "docs.example", "/a") {
		t.Errorf("the same after its end: got %+v", same)
	}

	other := New("other")
	if reaches(t, other, "docs.example", "/a") {
		t.Error("another bottle has it")
	}
	if _, err := other.Decide(t0, r.ID, base(), Decision{Approve: true, Digest: digest}); !errors.Is(err, ErrUnknown) {
		t.Errorf("a decision of one bottle's in another: got %v", err)
	}
}
