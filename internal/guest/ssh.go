package guest

import (
	"errors"
	"strings"
)

// NoSSH is what git runs as ssh, for a repository that is not behind the gate: the bottle
// has no network for ssh, and ssh itself would say only that a name does not resolve.
func NoSSH(args []string) error {
	return errors.New(destination(args) + ": this bottle has no ssh, and the repository is not one of its own (list_policy names those). " +
		"The operator declares repositories in the bottle's manifest, under git: ask for it with ask_operator")
}

// destination is the first argument that is no option (ssh(1)); git sets these two.
func destination(args []string) string {
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "-o" || args[i] == "-p":
			i++
		case !strings.HasPrefix(args[i], "-"):
			return args[i]
		}
	}
	return "ssh"
}
