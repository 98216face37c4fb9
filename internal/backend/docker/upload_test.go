package docker

import (
	"bufio"
	"bytes"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// Attack E6: the bottle's side of a pull is open and says nothing. It is given up.
func TestAttackE6_APullFromASilentBottleEnds(t *testing.T) {
	ours, theirs := net.Pipe()
	defer func() { _ = theirs.Close() }()
	conn := client.HijackedResponse{Conn: ours, Reader: bufio.NewReader(ours)}
	streams := bottle.IO{Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}}
	err := relay(t.Context(), conn, streams, bottle.Patience{Silence: time.Millisecond, Whole: time.Hour})
	if err == nil || !strings.Contains(err.Error(), "the bottle has sent nothing for 1ms") {
		t.Errorf("got %v", err)
	}
}
