package egress

import (
	"net/http"
	"testing"
)

// What is kept of the usual names is what a look at them says, and is found by the names that
// net/http gives headers.
func TestUsualHeadersAreJudgedAsAll(t *testing.T) {
	for name, kept := range usualHeaders() {
		if kept != judgeHeader(name) {
			t.Errorf("%s: kept %+v, judged %+v", name, kept, judgeHeader(name))
		}
		if http.CanonicalHeaderKey(name) != name {
			t.Errorf("%s: no header is called so by net/http", name)
		}
		if kept.method || kept.target || kept.object {
			t.Errorf("%s: refused, and yet usual", name)
		}
	}
}
