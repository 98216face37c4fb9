package docker

import (
	"slices"
	"strings"
	"testing"
)

// Attack J2: the address of an engine comes from a docker context; no part of it becomes an
// option of ssh, or another command on the other side.
func TestAttackJ2_AnEnginesAddressIsNoOption(t *testing.T) {
	for endpoint, want := range map[string]string{
		"ssh://build.example":                               "-- build.example docker system dial-stdio",
		"ssh://sam@build.example:2222":                      "-l sam -p 2222 -- build.example docker system dial-stdio",
		"ssh://sam@build.example/run/user/1000/docker.sock": "-l sam -- build.example docker --host unix:///run/user/1000/docker.sock system dial-stdio",
		"ssh://-oProxyCommand=evil":                         "-- -oProxyCommand=evil docker system dial-stdio",
	} {
		r, err := parseSSH(endpoint)
		if err != nil {
			t.Errorf("%s: %v", endpoint, err)
			continue
		}
		if got := strings.Join(r.argv, " "); !strings.HasSuffix(got, want) || slices.Index(r.argv, "BatchMode=yes") < 0 {
			t.Errorf("%s: got %s", endpoint, got)
		}
	}
	for _, endpoint := range []string{"ssh://", "ssh://sam:word@build.example", "ssh://build.example/x;evil", "ssh://build.example/$(evil)", "ssh://build.example?x=y", "ssh://build.example#x", "ssh://build example"} {
		if r, err := parseSSH(endpoint); err == nil {
			t.Errorf("%s was taken: %v", endpoint, r.argv)
		}
	}
}
