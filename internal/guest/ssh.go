package guest

import (
	"errors"
	"strconv"
	"strings"
)

// NoSSH is what git runs as ssh, for a repository that is not behind the gate: the bottle
// has no network for ssh, and ssh itself would say only that a name does not resolve.
func NoSSH(args []string) error {
	return errors.New(destination(args) + ": this bottle has no ssh, and the repository is not one of its own (list_policy names those). " +
		"If you need it, call request_git of the MCP server \"operator\" with {\"repository\":" + strconv.Quote(repository(args)) + "} and why you need it")
}

// repository is the URL that git means by ssh's arguments: a place to log in at, and
// git-upload-pack or git-receive-pack with a path in quotes.
func repository(args []string) string {
	where, port := destination(args), ""
	for i, arg := range args {
		if arg == "-p" && i+1 < len(args) {
			port = ":" + args[i+1]
		}
	}
	_, path, _ := strings.Cut(args[max(0, len(args)-1)], " ")
	path = strings.Trim(path, "'")
	if strings.HasPrefix(path, "/") || port != "" {
		return "ssh://" + where + port + "/" + strings.TrimPrefix(path, "/")
	}
	return where + ":" + path
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
