package image

import (
	"encoding/json"
	"fmt"
	"strings"
)

// What package provider counts on in every image.
const (
	user      = "node"
	uid       = 1000
	home      = "/home/node"
	workspace = "/workspace"
)

// contractMark tells the step that checks an image from those of its Dockerfile.
const contractMark = "bot-bottle-contract"

// contract is the last step of every image that is not ours alone: it fails where the image
// does not fit a bottle, with a line for each thing that is missing. It adds nothing to the image.
// docs/providers.md lists the same.
func contract(program string) string {
	checks := []struct{ test, what string }{
		{fmt.Sprintf(`[ "$(id -u):$(id -g)" = %d:%d ]`, uid, uid), fmt.Sprintf("user %s has uid and gid %d", user, uid)},
		{fmt.Sprintf(`[ "$HOME" = %s ] && [ -d "$HOME" ] && [ -w "$HOME" ]`, home), "the home of user " + user + " is " + home + ", and its own"},
		{fmt.Sprintf(`[ -d %[1]s ] && [ -w %[1]s ]`, workspace), "there is a directory " + workspace + " in which user " + user + " may write"},
		{`command -v git >/dev/null`, "there is git"},
	}
	if program != "" {
		checks = append(checks, struct{ test, what string }{"command -v " + program + " >/dev/null", "there is " + program + ", which runs the agent"})
	}
	var script strings.Builder
	script.WriteString(": " + contractMark + "; bad=0; ")
	for _, c := range checks {
		fmt.Fprintf(&script, "{ %s; } || { echo 'it does not hold that %s'; bad=1; }; ", c.test, c.what)
	}
	script.WriteString(`found=$(find / -xdev -type f -perm -4000 ! -path "/usr/bin/*" ! -path "/bin/*" ! -path "/usr/lib/openssh/*" 2>/dev/null | head -n 3); ` +
		`[ -z "$found" ] || { echo "it does not hold that setuid programs are where a distribution puts them:" $found; bad=1; }; exit $bad`)
	words, _ := json.Marshal([]string{"/bin/sh", "-c", script.String()}) // strings can be marshalled
	return "USER " + user + "\nRUN " + string(words) + "\n"
}
