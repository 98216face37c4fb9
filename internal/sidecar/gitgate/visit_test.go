package gitgate

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
)

// fetches are the events of fetches, once there are so many: the last one is told when its
// client's connection is closed.
func (l *lab) fetches(n int) []audit.Event {
	l.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		var all []audit.Event
		for line := range strings.Lines(l.events.String()) {
			var e audit.Event
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				l.t.Fatal(err)
			}
			if e.Kind == audit.Fetch {
				all = append(all, e)
			}
		}
		if len(all) >= n || time.Now().After(end) {
			if len(all) != n {
				l.t.Fatalf("%d events, want %d: %+v", len(all), n, all)
			}
			return all
		}
	}
}

// Whatever a fetch brings, there is one event that says it: which refs were wanted, how many
// objects were sent, and how long it took and waited for the upstream.
func TestEveryFetchIsOneEvent(t *testing.T) {
	for _, version := range []string{"0", "2"} {
		t.Run("v"+version, func(t *testing.T) {
			l := newLab(t)
			protocol := "protocol.version=" + version
			work := l.clone("-c", protocol)
			main := l.theirs("refs/heads/main")
			check := func(n, objects int, reason string, refs ...audit.Update) {
				t.Helper()
				e := l.fetches(n)[n-1]
				if e.Decision != audit.Allow || e.Repository != "widget" || e.Objects != objects || e.Reason != reason || e.Millis <= 0 || e.Upstream <= 0 || e.Upstream > e.Millis {
					t.Errorf("%d: %+v", n, e)
				}
				if len(e.Updates) != len(refs) {
					t.Fatalf("%d: refs %+v, want %+v", n, e.Updates, refs)
				}
				for i, u := range refs {
					if e.Updates[i] != u {
						t.Errorf("%d: refs %+v, want %+v", n, e.Updates, refs)
					}
				}
			}
			check(1, 3, "", audit.Update{Ref: "refs/heads/main", New: main})
			l.git(work, "fetch", "-q")
			check(2, 0, "it asked for no objects")
			l.git(work, "ls-remote")
			check(3, 0, "it asked for no objects")
			seed := l.dir + "/seed"
			l.git(seed, "checkout", "-q", "-b", "next")
			next := l.commit(seed, "dir/file", "new\n")
			l.git(seed, "push", "-q", l.upstream, "next", "next:again")
			l.git(work, "fetch", "-q")
			check(4, 4, "", audit.Update{Ref: "refs/heads/again", New: next}, audit.Update{Ref: "refs/heads/next", New: next})
			var together sync.WaitGroup
			for range 3 {
				together.Go(func() { _, _ = l.try(work, "ls-remote") })
			}
			together.Wait()
			check(7, 0, "it asked for no objects")
			l.stop()
			l.fetches(7)
		})
	}
}

// What passes is heard the same however it is cut, and what is none of git's protocol is passed
// over.
func TestPacketsAreHeardInPieces(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("ab", 20)
	long := strings.Repeat("x", 60_000)
	request := packet("command=fetch") + "0001" + packet("thin-pack") + packet("want "+id+"\n") + packet(long) + packet("want "+strings.Repeat("cd", 20)+" multi_ack ofs-delta\n") + "0000" + packet("done\n")
	pack := "PACK\x00\x00\x00\x02\x00\x00\x01\x02"
	for _, size := range []int{1, 3, 4, 7, 64, 1 << 20} {
		w := newWanted()
		for b := []byte(request); len(b) > 0; b = b[min(size, len(b)):] {
			_, _ = w.Write(b[:min(size, len(b))])
		}
		if len(w.ids()) != 2 || !w.ids()[id] {
			t.Errorf("in pieces of %d: %v", size, w.ids())
		}
		for _, answer := range []string{
			packet("packfile\n") + packet("\x02counting\n") + packet("\x01"+pack+long) + packet("\x01more") + "0000",
			packet("NAK\n") + packet("\x01"+pack) + "0000",
			packet("NAK\n") + pack + long,
		} {
			h := newPackHead()
			for b := []byte(answer); len(b) > 0; b = b[min(size, len(b)):] {
				_, _ = h.Write(b[:min(size, len(b))])
			}
			if n, sent := h.count(); !sent || n != 258 {
				t.Errorf("in pieces of %d: %d %v of %.60q", size, n, sent, answer)
			}
		}
		h := newPackHead()
		_, _ = h.Write([]byte(packet("packfile\n") + packet("\x02PACK is on its way\n") + long + pack))
		if _, sent := h.count(); sent {
			t.Error("a pack is heard where none is")
		}
	}
}

// What a client and git say to each other is heard the same however it is cut.
func FuzzPackets(f *testing.F) {
	f.Add([]byte("0032want "+strings.Repeat("ab", 20)+"\n00000009done\n"), uint8(3))
	f.Add([]byte("000dpackfile\n0011\x01PACK\x00\x00\x00\x02\x00\x00\x00\x07"), uint8(1))
	f.Add([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x07"), uint8(5))
	f.Add([]byte("fff0\x01PACKzzzz0001+00G"), uint8(2))
	f.Fuzz(func(t *testing.T, data []byte, size uint8) {
		whole, pieces := newWanted(), newWanted()
		head, headInPieces := newPackHead(), newPackHead()
		_, _ = whole.Write(data)
		_, _ = head.Write(data)
		for b := data; len(b) > 0; {
			n := min(1+int(size), len(b))
			_, _ = pieces.Write(b[:n])
			_, _ = headInPieces.Write(b[:n])
			b = b[n:]
		}
		if !maps.Equal(whole.ids(), pieces.ids()) {
			t.Errorf("wants %v, in pieces %v", whole.ids(), pieces.ids())
		}
		n, sent := head.count()
		if m, also := headInPieces.count(); m != n || also != sent {
			t.Errorf("objects %d %v, in pieces %d %v", n, sent, m, also)
		}
		if len(head.line) > heard+4 || len(whole.from.line) > heard+4 {
			t.Errorf("%d and %d bytes are kept", len(head.line), len(whole.from.line))
		}
	})
}

// What a client has done is told once, however it ends: by the objects that it gets, by leaving, or by the gate's end.
func TestAVisitIsToldOnce(t *testing.T) {
	t.Parallel()
	m := &mirror{}
	refs := make(map[string]string)
	for i := range maxReported + 5 {
		refs[fmt.Sprintf("refs/heads/%02d", i)] = fmt.Sprintf("%040d", i)
	}
	m.shown.Store(&refs)
	for name, end := range map[string]func(*Server, net.Conn){
		"the client leaves": func(s *Server, c net.Conn) { s.left(c, http.StateClosed) },
		"the gate ends":     func(s *Server, _ net.Conn) { s.farewell() },
		"both":              func(s *Server, c net.Conn) { s.farewell(); s.left(c, http.StateClosed); s.farewell() },
	} {
		var told []audit.Event
		client, _ := net.Pipe()
		v := &visit{record: func(e audit.Event) { told = append(told, e) }}
		s := &Server{visits: visits{all: map[net.Conn]*visit{client: v}}}
		end(&Server{}, client) // has nothing to tell of it
		s.left(client, http.StateIdle)
		v.shown(m, time.Now(), 7)
		asked := newWanted()
		for _, id := range refs {
			_, _ = asked.Write([]byte(packet("want " + id + "\n")))
		}
		_, _ = asked.Write([]byte(packet("want " + strings.Repeat("ab", 20) + "\n")))
		v.served(m, time.Now(), asked, newPackHead(), 3, 4)
		v.event.Millis = 0 // so fast
		if len(told) > 0 {
			t.Errorf("%s: told before its end: %+v", name, told)
		}
		end(s, client)
		if len(told) != 1 {
			t.Fatalf("%s: told %d times", name, len(told))
		}
		e := told[0]
		if len(e.Updates) != maxReported || e.Updates[maxReported-1].Ref != "refs/heads/19" || e.Reason != "and 5 more refs, 1 ids that are no ref's" || e.Upstream != 7 || e.Millis != 7 || e.BytesOut != 3 || e.BytesIn != 4 {
			t.Errorf("%s: told %+v", name, e)
		}
	}
}

// A client whose connection is still served when the gate ends is told of before that is over.
func TestTheGatesEndTellsOfItsClients(t *testing.T) {
	l := newLab(t)
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	ask := func() {
		if answer, err := client.Get(l.url + "/info/refs?service=" + uploadPack); err == nil {
			_, _ = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
		}
	}
	ask()
	m := l.server.find("widget")
	m.mu.Lock() // as who waits for the upstream
	asked := make(chan struct{})
	go func() { defer close(asked); ask() }() // on the same connection
	for l.server.places.inUse() == 0 {        // the test's own end bounds that
		time.Sleep(time.Millisecond)
	}
	l.stop()
	if got := strings.Count(l.events.String(), "it asked for no objects"); got != 1 {
		t.Errorf("the log has %d visits:\n%s", got, l.events)
	}
	m.mu.Unlock()
	<-asked
}
