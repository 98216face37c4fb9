package docker

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/profiles/seccomp"
)

// The embedded profile is the pinned library's, so that an update of it is noticed.
func TestSeccompIsTheEnginesDefaultLessWhatIsRefused(t *testing.T) {
	var ours, theirs map[string]any
	data, err := json.Marshal(seccomp.DefaultProfile())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(json.Unmarshal(engineProfile, &ours), json.Unmarshal(data, &theirs)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(theirs["defaultAction"], ours["defaultAction"]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(allowed(t, data), allowed(t, engineProfile)); diff != "" {
		t.Errorf("the pinned profile has changed: %s", diff)
	}
	profile, err := seccompProfile()
	if err != nil {
		t.Fatal(err)
	}
	left := allowed(t, []byte(profile))
	for name := range refused {
		if want := name == "socket"; slices.Contains(left, name) != want {
			t.Errorf("%s: allowed %v, want %v", name, !want, want)
		}
	}
}

// allowed are the calls that some rule of a profile allows, sorted.
func allowed(t *testing.T, data []byte) []string {
	t.Helper()
	var profile struct {
		Syscalls []struct {
			Names  []string
			Action string
		}
	}
	if err := json.Unmarshal(data, &profile); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range profile.Syscalls {
		if s.Action == "SCMP_ACT_ALLOW" {
			names = append(names, s.Names...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
