package egress

import (
	"bytes"
	"crypto/tls"
	"io"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// ask2 sends one request over HTTP/2, field by field, and returns the status, or "" where
// the server ends the stream or the connection.
func (l *lab) ask2(t *testing.T, host string, fields ...string) string {
	t.Helper()
	conn, status := l.connect(t, host+":443")
	if status != 200 {
		t.Fatalf("CONNECT %s: %d", host, status)
	}
	defer func() { _ = conn.Close() }()
	secure := tls.Client(conn, &tls.Config{RootCAs: l.roots, ServerName: host, NextProtos: []string{"h2"}})
	_, _ = io.WriteString(secure, http2.ClientPreface)
	f := http2.NewFramer(secure, secure)
	_ = f.WriteSettings()
	var head bytes.Buffer
	for e, i := hpack.NewEncoder(&head), 0; i < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head.Bytes(), EndHeaders: true, EndStream: true})
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return ""
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			return frame.PseudoValue("status")
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return ""
		}
	}
}

// Attack B2: over HTTP/2, a target or a Host that names another host than :authority, or a
// pseudo-header that can be read in two ways. What a server behind egress would make of
// it does not count: it is refused.
func TestAttackB2_PseudoHeaders(t *testing.T) {
	l := newLab(t, unreachable(t).route("api.example", keyAuth()))
	usual := []string{":method", "GET", ":scheme", "https", ":authority", "api.example"}
	for what, fields := range map[string][]string{
		"a whole URL":          append(usual[:6:6], ":path", "https://evil.example/ok"),
		"our own whole URL":    append(usual[:6:6], ":path", "https://api.example/ok"),
		"a user":               append(usual[:6:6], ":path", "https://u:"+otherReal+"@api.example/ok"),
		"a network path":       append(usual[:6:6], ":path", "//evil.example/ok"),
		"no path":              append(usual[:6:6], ":path", "ok"),
		"another Host":         append(usual[:6:6], ":path", "/ok", "host", "evil.example"),
		"only another Host":    append(usual[:4:4], ":path", "/ok", "host", "evil.example"),
		"another authority":    {":method", "GET", ":scheme", "https", ":authority", "evil.example", ":path", "/ok"},
		"two paths":            append(usual[:6:6], ":path", "/ok", ":path", "/no"),
		"a pseudo-header late": append(usual[:6:6], "x", "y", ":path", "/ok"),
		"a line end":           append(usual[:6:6], ":path", "/ok", "x", "a\r\nb: c"),
		"a line end in a path": append(usual[:6:6], ":path", "/ok HTTP/1.1\r\nx: y"),
		"a method of words":    {":method", "GET /no HTTP/1.1", ":scheme", "https", ":authority", "api.example", ":path", "/ok"},
		"an extended CONNECT":  {":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":authority", "api.example", ":path", "/ok"},
		"HTTP/1's framing":     append(usual[:6:6], ":path", "/ok", "transfer-encoding", "chunked"),
	} {
		if status := l.ask2(t, "api.example", fields...); status != "" && status[0] != '4' {
			t.Errorf("%s: got %s", what, status)
		}
	}
}
