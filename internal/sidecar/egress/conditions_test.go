package egress

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// A route that is pinned to an organisation by its body or its query lets nothing else
// through, and what it lets through arrives as it was sent.
func TestConditionsOnBodyAndQuery(t *testing.T) {
	var got []string
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		got = append(got, r.URL.RawQuery+" "+string(data))
	})
	route := up.route("api.example", keyAuth())
	route.Body = map[string]string{"org": "acme"}
	pinned := up.route("query.example", keyAuth())
	pinned.Query = map[string]string{"bucket": "acme-*"}
	l := newLab(t, route, pinned)
	long := `{"org":"acme","x":"` + strings.Repeat("y", policy.MaxBody) + `"}`
	for _, h2 := range []bool{false, true} {
		client := l.client(t, h2)
		for body, want := range map[string]int{
			`{"org": "acme", "n": 1}`:       200,
			`{"org": "evil"}`:               403,
			`{"org": "evil", "org":"acme"}`: 403,
			`{"ORG": "evil", "org":"acme"}`: 403,
			`{"n": 1}`:                      403,
			`org=acme`:                      403,
			``:                              403,
			long:                            403,
		} {
			got = nil
			r := request(t, "POST", "https://api.example/x", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			response, _ := get(t, client, r)
			if response.StatusCode != want || want == 200 && (len(got) != 1 || got[0] != " "+body) || want != 200 && len(got) > 0 {
				t.Errorf("%.40s: got %d, and %d arrived", body, response.StatusCode, len(got))
			}
		}
		for query, want := range map[string]int{"bucket=acme-logs&n=1": 200, "bucket=evil": 403, "bucket=acme-logs&bucket=evil": 403, "n=1": 403, "Bucket=evil&bucket=acme-x": 403} {
			response, _ := get(t, client, request(t, "GET", "https://query.example/x?"+query, nil))
			if response.StatusCode != want || want == 200 && !strings.HasPrefix(got[len(got)-1], query) {
				t.Errorf("%s: got %d, %q", query, response.StatusCode, got)
			}
		}
	}
}

// More requests than there are slots for bodies, none of which reads its answer: nobody
// waits for another.
func TestBodiesThatDecideDoNotBlockEachOther(t *testing.T) {
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	route := up.route("api.example", nil)
	route.Body = map[string]string{"org": "acme"}
	l := newLab(t, route)
	client := l.client(t, true)
	for range 40 {
		r := request(t, "POST", "https://api.example/", strings.NewReader(`{"org":"acme"}`))
		r.Header.Set("Content-Type", "application/json")
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = response.Body.Close() })
	}
}
