package cli

import (
	"errors"
	"strings"
	"testing"
)

// What failed on a file is told without the name of a system call.
func TestAnErrorNamesNoSystemCall(t *testing.T) {
	for err, want := range map[string]string{
		"secret A: stat /none: no such file or directory":   "bot-bottle: secret A: /none: no such file or directory\n",
		"cannot run x: fork/exec /bin/x: permission denied": "bot-bottle: cannot run x: /bin/x: permission denied\n",
		"cannot open the door: locked":                      "bot-bottle: cannot open the door: locked\n",
		"one of these: read /a or write /b: which":          "bot-bottle: one of these: read /a or write /b: which\n",
	} {
		var got strings.Builder
		printError(&got, errors.New(err), "")
		if got.String() != want {
			t.Errorf("%s: got %q", err, got.String())
		}
	}
}
