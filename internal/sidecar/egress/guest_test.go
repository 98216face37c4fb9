package egress

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
)

// Egress goes on for as long as the guest asks for ports, however long that takes, and
// ends when it has not for a while.
func TestEgressEndsWhenTheGuestIsGone(t *testing.T) {
	ca, _ := newCA(t)
	s, err := New(configWith(ca), audit.NewWriter(io.Discard), slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.grace = 100 * time.Millisecond
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(t.Context(), ln) }()
	guest, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = guest.Close() }()
	answers := bufio.NewReader(guest)
	_, _ = io.WriteString(guest, "GET /.bot-bottle/v1/ports?rev=0 HTTP/1.1\r\nHost: egress.bot-bottle\r\n\r\n")
	if _, err := answers.ReadString('}'); err != nil {
		t.Fatal(err)
	}
	_ = guest.Close()
	select {
	case err := <-ended:
		if !errors.Is(err, ErrGuestGone) {
			t.Errorf("got %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on without a guest")
	}
}

func TestAttendance(t *testing.T) {
	var a attendance
	end := a.begin()
	if a.silent(time.Now().Add(time.Hour)) != 0 {
		t.Error("it is there")
	}
	a.begin()()
	if a.silent(time.Now().Add(time.Hour)) != 0 {
		t.Error("it is still there")
	}
	end()
	if got := a.silent(time.Now().Add(time.Hour)); got < time.Hour || got > time.Hour+time.Minute {
		t.Errorf("got %s", got)
	}
}
