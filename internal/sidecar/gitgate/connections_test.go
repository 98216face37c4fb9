package gitgate

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Attack J4: thousands of connections to the gate, each with most of a request that never ends, fill the memory
// of the bundle, and of the host where that is a process there. Beyond some, they wait, and hold nothing.
func TestAttackJ4_TheGatesConnectionsWait(t *testing.T) {
	l := newLab(t)
	var open []net.Conn
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for range maxConnections {
		c, err := net.Dial("tcp", strings.TrimPrefix(l.root, "http://"))
		if err == nil {
			_, err = c.Write([]byte("GET /widget HTTP/1.1\r\nX: "))
		}
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	answered := make(chan error, 1)
	go func() {
		answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(l.root + "/nothing/of/that/name/info/refs?service=git-upload-pack")
		if err == nil {
			err = answer.Body.Close()
		}
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Fatalf("one more was taken: got %v", err)
	case <-time.After(200 * time.Millisecond): // nothing tells that it is not
	}
	_ = open[0].Close()
	if err := <-answered; err != nil {
		t.Error(err)
	}
}
