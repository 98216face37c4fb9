package docker

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/moby/moby/client"
)

// A command whose streams have ended may still run, and the engine says 0 of it then: that is not
// its status.
func TestACommandThatStillRunsHasNoStatus(t *testing.T) {
	asked := 0
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		if !strings.HasSuffix(r.URL.Path, "/exec/x/json") {
			return // a ping
		}
		w.Header().Set("Content-Type", "application/json")
		if asked++; asked < 4 {
			_, _ = fmt.Fprint(w, `{"ID":"x","Running":true,"ExitCode":null}`)
			return
		}
		_, _ = fmt.Fprint(w, `{"ID":"x","Running":false,"ExitCode":7}`)
	}))
	defer engine.Close()
	c, err := client.New(client.WithHost("tcp://" + engine.Listener.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	if code, err := (&Driver{Client: c}).exitOf(t.Context(), "x"); err != nil || code != 7 || asked != 4 {
		t.Errorf("got %d, %v after %d questions", code, err, asked)
	}
}
