package egress

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// echo is an upstream that sends every message back, and each of them to heard.
func echo(t *testing.T, heard *safeBuffer) *origin {
	return newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Sec-Websocket-Extensions") != "" {
			t.Error("an extension was offered")
		}
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		conn.SetReadLimit(-1)
		defer func() { _ = conn.CloseNow() }()
		for {
			kind, data, err := conn.Read(r.Context())
			if err != nil {
				return
			}
			_, _ = heard.Write(data)
			if conn.Write(r.Context(), kind, data) != nil {
				return
			}
		}
	})
}

func (l *lab) webSocket(t *testing.T, url string) *websocket.Conn {
	t.Helper()
	return l.webSocketFor(t, url, nil)
}

// webSocketFor is webSocket with a head.
func (l *lab) webSocketFor(t *testing.T, url string, head http.Header) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: l.client(t, false), HTTPHeader: head, CompressionMode: websocket.CompressionContextTakeover})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(-1)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return conn
}

func TestWebSocketPasses(t *testing.T) {
	for name, auth := range map[string]*policy.Auth{"with a credential": keyAuth(), "without": nil} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, echo(t, &safeBuffer{}).route("api.example", auth))
			conn := l.webSocket(t, "wss://api.example/ws")
			for _, message := range [][]byte{[]byte("hello"), {}, bytes.Repeat([]byte("long "), 100_000), {0, 1, 2, 255}} {
				if err := conn.Write(t.Context(), websocket.MessageBinary, message); err != nil {
					t.Fatal(err)
				}
				if kind, got, err := conn.Read(t.Context()); err != nil || kind != websocket.MessageBinary || !bytes.Equal(got, message) {
					t.Fatalf("%d bytes came back as %d, %v", len(message), len(got), err)
				}
			}
			reading := conn.CloseRead(t.Context()) // answers pings
			if err := conn.Ping(t.Context()); err != nil {
				t.Error(err)
			}
			_ = reading
			if err := conn.Close(websocket.StatusNormalClosure, "done"); err != nil {
				t.Error(err)
			}
			e := l.awaitEvent(t, "the end", func(e audit.Event) bool { return e.Path == "/ws" })
			if e.Decision != audit.Allow || e.Status != 101 || e.BytesIn < 500_000 || e.BytesOut < 500_000 {
				t.Errorf("got %+v", e)
			}
		})
	}
}

// Attack B8: after an upgrade that was allowed, a secret goes out in frames: whole, cut
// over fragments or messages, encoded, in a control frame. The upstream never has it, and the
// bottle is told why its connection ended.
func TestAttackB8_NoSecretLeavesInFrames(t *testing.T) {
	half := len(otherReal) / 2
	for name, parts := range map[string][]string{
		"plain":        {"x " + otherReal},
		"base64":       {base64.StdEncoding.EncodeToString([]byte("y" + otherReal))},
		"in two":       {otherReal[:half], otherReal[half:]},
		"JSON escapes": {`"` + strings.ReplaceAll(otherReal, "_", `\u005f`) + `"`},
		"placeholder":  {otherPlaceholder},
	} {
		t.Run(name, func(t *testing.T) {
			heard := &safeBuffer{}
			l := newLab(t, echo(t, heard).route("api.example", keyAuth()))
			conn := l.webSocket(t, "wss://api.example/ws")
			for _, part := range parts {
				if err := conn.Write(t.Context(), websocket.MessageText, []byte(part)); err != nil {
					t.Fatal(err)
				}
			}
			var err error
			for err == nil {
				_, _, err = conn.Read(t.Context())
			}
			var told websocket.CloseError
			if !errors.As(err, &told) || told.Code != websocket.StatusPolicyViolation || !strings.Contains(told.Reason, "secret OTHER") {
				t.Errorf("the bottle was told %v", err)
			}
			if all := heard.String(); strings.Contains(all, otherReal) || strings.Contains(all, otherPlaceholder) {
				t.Errorf("it arrived: %q", all)
			}
			l.awaitEvent(t, "the refusal", func(e audit.Event) bool {
				return e.Path == "/ws" && e.Decision == audit.Deny && strings.Contains(e.Reason, "OTHER")
			})
		})
	}
}

// head makes a frame's head.
func head(first byte, masked bool, length int) []byte {
	second := byte(0)
	if masked {
		second = 0x80
	}
	switch {
	case length < 126:
		return []byte{first, second | byte(length)}
	case length < 1<<16:
		return binary.BigEndian.AppendUint16([]byte{first, second | 126}, uint16(length))
	}
	return binary.BigEndian.AppendUint64([]byte{first, second | 127}, uint64(length))
}

// Attack B8, C3: an upstream sends our credential back over a WebSocket, cut over
// fragments, with a control frame between. It is masked, and everything else is as it was.
func TestAttackC3_AWebSocketEchoIsMasked(t *testing.T) {
	var sent, want []byte
	part := func(first byte, data, masked string) {
		sent = append(append(sent, head(first, false, len(data))...), data...)
		want = append(append(want, head(first, false, len(data))...), masked...)
	}
	stars := strings.Repeat("*", len(realKey))
	part(0x01, "it is "+realKey[:9], "it is "+stars[:9])
	part(0x89, "ping", "ping")
	part(0x00, realKey[9:20], stars[9:20])
	part(0x00, "", "")
	part(0x80, realKey[20:]+" indeed", stars[20:]+" indeed")
	part(0x82, base64.StdEncoding.EncodeToString([]byte("ab"+realKey+"abc")), "")
	for size := 1; size <= len(sent); size = size*2 + 1 {
		s := newSocket(&stub{chunks: slices.Collect(slices.Chunk(sent, size))}, newEchoes([]needle{newNeedle("KEY", realKey, true)}))
		got, err := io.ReadAll(s)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(sent) || !bytes.HasPrefix(got, want[:bytes.LastIndexByte(want, 0x82)]) {
			t.Fatalf("in pieces of %d: got %q, want %q", size, got, want)
		}
		for _, form := range newNeedle("KEY", realKey, true).forms {
			if bytes.Contains(got, form) {
				t.Fatalf("in pieces of %d: it came through", size)
			}
		}
	}
}

// Attack B8, C3: the same spelled out, as JSON or HTML would, and cut within what stands for its first
// character: what came of that is not handed on before it is known what it is.
func TestAttackC3_AWebSocketEchoIsCutInAnEscape(t *testing.T) {
	for name, how := range spellings() {
		for kind, text := range map[string]string{
			"first": "a " + spell(realKey[:1], how) + realKey[1:], "whole": "a " + spell(realKey, how), "in JSON": quoted("a " + spell(realKey, how)),
		} {
			sent := append(head(0x81, false, len(text)), text...)
			for _, size := range []int{1, 2, 3, 5, 7, 64} {
				got, err := io.ReadAll(newSocket(&stub{chunks: slices.Collect(slices.Chunk(sent, size))}, testEchoes()))
				if err != nil || leaks(got) || len(got) != len(sent) {
					t.Errorf("%s, %s, %d at a time: got %q, %v", name, kind, size, got, err)
				}
			}
		}
	}
}

// stub is an upstream that sends chunks and remembers what it got.
type stub struct {
	chunks [][]byte
	got    []byte
	closed bool
}

func (s *stub) Read(p []byte) (int, error) {
	if len(s.chunks) == 0 || s.closed {
		return 0, io.EOF
	}
	n := copy(p, s.chunks[0])
	if s.chunks[0] = s.chunks[0][n:]; len(s.chunks[0]) == 0 {
		s.chunks = s.chunks[1:]
	}
	return n, nil
}

func (s *stub) Write(p []byte) (int, error) { s.got = append(s.got, p...); return len(p), nil }
func (s *stub) Close() error                { s.closed = true; return nil }

// newSocket searches nothing in what goes out.
func newSocket(upstream io.ReadWriteCloser, e *echoes) *webSocket {
	nothing := func([]byte) error { return nil }
	return newWebSocket(upstream, nothing, nothing, func() *echoes { return e })
}

// Attack B8: what follows an upgrade is no WebSocket at all, so that nobody looks into it.
func TestAttackB8_OnlyFramesPass(t *testing.T) {
	for name, said := range map[string][]byte{
		"HTTP":               []byte("GET /admin HTTP/1.1\r\n\r\n"),
		"TLS":                {0x16, 0x03, 0x01, 0x00, 0x05},
		"HTTP/2":             []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
		"not masked":         append(head(0x81, false, 2), "hi"...),
		"compressed":         append(head(0xc1, true, 0), 0, 0, 0, 0),
		"unknown opcode":     append(head(0x83, true, 0), 0, 0, 0, 0),
		"a long ping":        append(head(0x89, true, 126), 0, 0, 0, 0),
		"a ping in parts":    append(head(0x09, true, 0), 0, 0, 0, 0),
		"nothing to go on":   append(head(0x80, true, 0), 0, 0, 0, 0),
		"two at once":        slices.Concat(head(0x01, true, 0), make([]byte, 4), head(0x01, true, 0), make([]byte, 4)),
		"after the last one": slices.Concat(head(0x88, true, 0), make([]byte, 4), []byte("more")),
		"too long to be":     slices.Concat([]byte{0x82, 0xff, 0xff}, make([]byte, 11)),
	} {
		up := &stub{}
		s := newSocket(up, nil)
		for _, c := range said {
			_, _ = s.Write([]byte{c})
		}
		if !up.closed || !errors.Is(s.why(), errFrame) {
			t.Errorf("%s: passed as %x, %v", name, up.got, s.why())
		}
		back := &stub{chunks: [][]byte{append([]byte("HTTP/1.1 200 OK\r\n\r\n"), said...)}}
		if got, err := io.ReadAll(newSocket(back, nil)); err != nil || len(got) < 4 || got[0] != 0x88 || bytes.Contains(got, []byte("HTTP")) {
			t.Errorf("%s from the upstream: got %q, %v", name, got, err)
		}
	}
}

// However a stream is cut, the same comes of it, and what passes is unchanged.
func FuzzFrames(f *testing.F) {
	f.Add(slices.Concat(head(0x81, true, 2), []byte{1, 2, 3, 4, 'h' ^ 1, 'i' ^ 2}), true, 3)
	f.Add(slices.Concat(head(0x01, false, 200), make([]byte, 200), head(0x80, false, 0)), false, 7)
	f.Fuzz(func(t *testing.T, data []byte, client bool, size int) {
		size = max(1, size%64)
		run := func(size int) (string, string) {
			var said strings.Builder
			fr := &frames{fromClient: client}
			fr.begin = func(f *frame) error { said.WriteByte(f.opcode); return nil }
			fr.data = func(_ *frame, plain []byte) error { said.Write(plain); return nil }
			fr.end = func(*frame) error { said.WriteByte('.'); return nil }
			for chunk := range slices.Chunk(data, size) {
				if err := fr.Write(chunk); err != nil {
					return said.String(), err.Error()
				}
			}
			return said.String(), ""
		}
		whole, failed := run(max(1, len(data)))
		if cut, cutFailed := run(size); cut != whole || cutFailed != failed {
			t.Errorf("whole: %q %s, in pieces of %d: %q %s", whole, failed, size, cut, cutFailed)
		}
		if !client {
			s := newSocket(&stub{chunks: [][]byte{data}}, nil)
			if got, _ := io.ReadAll(s); s.why() == nil && !bytes.HasPrefix(data, got) {
				t.Errorf("%q came through as %q", data, got)
			}
		}
	})
}
