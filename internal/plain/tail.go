package plain

import (
	"strings"
	"sync"
)

// Tail keeps the end of what is written to it: of what a program says, that is where it says why it
// ended. It may be used concurrently.
type Tail struct {
	mu   sync.Mutex
	data []byte
}

// TailSize is how much is kept, in bytes.
const TailSize = 4096

// Write never fails.
func (t *Tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, p...)
	if over := len(t.data) - TailSize; over > 0 {
		t.data = append(t.data[:0], t.data[over:]...)
	}
	return len(p), nil
}

// Lines are those that are kept, as they were written. There is always one, which may be empty.
func (t *Tail) Lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Split(strings.TrimSpace(string(t.data)), "\n")
}

// Last is the last line, safe to print.
func (t *Tail) Last() string {
	lines := t.Lines()
	return Text(lines[len(lines)-1])
}
