package egress

import (
	"net/http"
	"testing"
)

// Of the connections of HTTP/2 only so many have requests under way. Others are open, wait
// with their first request, and get their turn; whoever goes away while it waits takes none.
func TestOnlySoManyConnectionsAreBusy(t *testing.T) {
	began, end := make(chan string, 10), make(chan struct{})
	up := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) {
		began <- r.URL.Path
		switch r.URL.Path {
		case "/long":
			<-end
		case "/second":
			select {
			case <-end:
			default:
				t.Error("the second began beside the first")
			}
		}
	})
	l := newLabWith(t, func(s *Server) { s.busy = newBusy(1) }, up.route("api.example", nil))
	ask := func(path string) chan int {
		answered := make(chan int, 1)
		client := l.client(t, true)
		go func() {
			response, err := client.Get("https://api.example" + path)
			if err != nil {
				answered <- 0
				return
			}
			_ = response.Body.Close()
			answered <- response.StatusCode
		}()
		return answered
	}
	long := ask("/long")
	if path := <-began; path != "/long" {
		t.Fatalf("got %s", path)
	}
	// HTTP/1.1 has one request at a time on a connection, which needs no slot.
	if response, _ := get(t, l.client(t, false), request(t, "GET", "https://api.example/one", nil)); response.StatusCode != 200 || <-began != "/one" {
		t.Errorf("HTTP/1.1: got %d", response.StatusCode)
	}
	second := ask("/second")
	close(end)
	if got := <-long; got != 200 {
		t.Errorf("the first got %d", got)
	}
	if got := <-second; got != 200 {
		t.Errorf("the second got %d", got)
	}
	third := ask("/third")
	if got := <-third; got != 200 {
		t.Errorf("the third got %d", got)
	}
}

// A tunnel that is closed while it waits for its turn no longer waits.
func TestAClosedTunnelWaitsForNoTurn(t *testing.T) {
	b, first, second := newBusy(1), newTurn(), newTurn()
	b.take(t.Context(), first)
	waited := make(chan struct{})
	go func() { b.take(t.Context(), second); close(waited) }()
	second.end()
	<-waited
	b.release(second)
	b.release(first)
	third := newTurn()
	b.take(t.Context(), third)
	if !third.held || second.held {
		t.Error("the slot was not given back, or was given to who had gone")
	}
}
