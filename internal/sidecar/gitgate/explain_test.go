package gitgate

import (
	"errors"
	"testing"
)

// Of a push that was not answered nobody says that the upstream did not take it.
func TestWhatIsNotKnownIsNotDenied(t *testing.T) {
	for err, want := range map[error]string{
		errNoAnswer:            errNoAnswer.Error(),
		errors.New("it ended"): "did not take it: it ended",
	} {
		if got := explain(err, "did not take it"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
