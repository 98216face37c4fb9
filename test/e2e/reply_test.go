package e2e

import (
	"bytes"
	"io"
)

// reply answers what a program asks its terminal, as any terminal does: where the cursor is,
// and what kind of terminal it is. Codex waits for it before it draws anything.
func (s *screen) reply(printed []byte) {
	for question, answer := range map[string]string{"\x1b[6n": "\x1b[1;1R", "\x1b[c": "\x1b[?62;22c"} {
		for range bytes.Count(printed, []byte(question)) {
			_, _ = io.WriteString(s.tty, answer)
		}
	}
}

// enter types a line, and ends it when the screen has it.
func (s *screen) enter(line string) {
	s.t.Helper()
	s.send(line)
	s.wait(line)
	s.send("\r")
}
