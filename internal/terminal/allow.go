package terminal

import (
	"fmt"
	"slices"
	"strings"
)

// Allow names something that reaches beyond the terminal's own screen, and is kept from the
// operator's terminal unless the operator allows it.
type Allow string

// What may be allowed.
const (
	Clipboard     Allow = "clipboard"     // OSC 52 may set the clipboard; it can never be read
	Title         Allow = "title"         // OSC 0, 1, 2 may set the window's title; it can never be read
	Notifications Allow = "notifications" // OSC 9, 99, 777
	Colours       Allow = "colours"       // OSC 4, 10, 11, 12 may set the palette; it can never be read
	Directory     Allow = "directory"     // OSC 7 may name the working directory
	Images        Allow = "images"        // sixel, kitty's and iTerm's images, if the data is in the sequence itself
	Scrollback    Allow = "scrollback"    // CSI 3 J may erase what has scrolled off
	Answers       Allow = "answers"       // the operator's terminal is asked, and types its answers into the bottle
)

// Allowed lists what may be allowed.
func Allowed() []Allow {
	return []Allow{Answers, Clipboard, Colours, Directory, Images, Notifications, Scrollback, Title}
}

// ParseAllow reads names, with commas between them.
func ParseAllow(list string) ([]Allow, error) {
	var allowed []Allow
	for name := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		if !slices.Contains(Allowed(), Allow(name)) {
			return nil, fmt.Errorf("%q is nothing that a terminal can be allowed: there are %s", name, words(Allowed()))
		}
		allowed = append(allowed, Allow(name))
	}
	return allowed, nil
}

func words(all []Allow) string {
	names := make([]string, len(all))
	for i, a := range all {
		names[i] = string(a)
	}
	return strings.Join(names, ", ")
}
