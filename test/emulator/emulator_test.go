package emulator

import (
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/prove/inside"
)

// What harms a terminal or its reader is seen here: else the tests that go by this screen
// would prove nothing.
func TestHarmIsSeen(t *testing.T) {
	harmless := map[string]bool{"long": true, "wide": true, "a box": true} // but for who is to tell whose words they are
	for name, text := range inside.Hostile() {
		s := New(100)
		s.Show("before " + text + " after\n")
		harm := s.Harm("")
		if len(harm) == 0 && !harmless[name] {
			t.Errorf("%s: nothing was seen", name)
		}
	}
	s := New(100)
	s.Show("two lines\nof text: “ä” · …\n")
	if harm := s.Harm("two lines\nof text: “ä” · …"); len(harm) > 0 {
		t.Errorf("harmless text: %v", harm)
	}
}
