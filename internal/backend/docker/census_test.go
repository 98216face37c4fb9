package docker

import (
	"testing"

	"github.com/moby/moby/api/types/container"

	"github.com/bot-bottle/bot-bottle/internal/state"
)

// Attack J1: whoever may use the same engine gives a container our owner's label, and a path
// for an identity. A cleanup would lock, and then remove, that directory of the operator's.
func TestAttackJ1_AnIdentityOnALabelIsNoPath(t *testing.T) {
	for _, identity := range []string{"../../../home/op", "/etc", "..", "dev-aaaaaa/..", "dev-aaaaaa\n", "-aaaaaa", "DEV-aaaaaa"} {
		if wellNamed(map[string]string{labelIdentity: identity}) {
			t.Errorf("%q was taken for an identity", identity)
		}
	}
	for _, identity := range []string{"", "dev-aaaaaa"} {
		if !wellNamed(map[string]string{labelIdentity: identity}) {
			t.Errorf("%q was not taken", identity)
		}
	}
}

// What has processes is alive, whether or not they run at the moment.
func TestWhoIsAlive(t *testing.T) {
	labels := map[string]string{labelIdentity: "dev-aaaaaa", labelRole: string(roleAgent)}
	for s, want := range map[container.ContainerState]bool{
		container.StateRunning: true, container.StatePaused: true, container.StateRestarting: true, container.StateExited: false, container.StateCreated: false, container.StateDead: false,
	} {
		c := census{containers: []container.Summary{{Labels: labels, State: s}}, busy: func(string) bool { return false }, place: "here", records: map[string]record{}}
		if c.alive("dev-aaaaaa") != want {
			t.Errorf("%s: got %t", s, !want)
		}
		c.records["dev-aaaaaa"] = record{Metadata: state.Metadata{Place: "there"}}
		if !c.alive("dev-aaaaaa") {
			t.Errorf("%s: a bottle of another engine is none of ours", s)
		}
	}
}
