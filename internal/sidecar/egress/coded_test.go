package egress

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"crypto/rand"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

func pack(t *testing.T, coding string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch coding {
	case "gzip", "x-gzip", "GZIP":
		w = gzip.NewWriter(&b)
	case "deflate":
		w = zlib.NewWriter(&b)
	case "br":
		w = brotli.NewWriter(&b)
	case "zstd":
		z, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	default:
		return data
	}
	_, _ = w.Write(data)
	_ = w.Close()
	return b.Bytes()
}

// Attack C7: a secret leaves in a compressed body. It is found in every coding that is let
// through, and one that cannot be looked into is not; what is clean arrives as it was sent.
func TestAttackC7_CompressedBodiesAreSearched(t *testing.T) {
	got := &safeBuffer{}
	up := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(got, r.Body) })
	l := newLab(t, up.route("api.example", keyAuth()))
	noise := make([]byte, 20_000)
	_, _ = rand.Read(noise)
	for _, coding := range []string{"gzip", "x-gzip", "GZIP", "deflate", "br", "zstd", "identity", "gzip, br"} {
		for name, c := range map[string]struct {
			data []byte
			want int
		}{
			"clean":       {append([]byte("hello "), noise...), 200},
			"empty":       {nil, 200},
			"placeholder": {append(noise[:18_000:18_000], otherPlaceholder...), 403},
			"real":        {[]byte(realKey), 403},
		} {
			packed := c.data
			for part := range strings.SplitSeq(coding, ", ") {
				packed = pack(t, part, packed)
			}
			for _, h2 := range []bool{false, true} {
				got.take()
				r := request(t, "POST", "https://api.example/", bytes.NewReader(packed))
				r.Header.Set("Content-Encoding", coding)
				response, body := get(t, l.client(t, h2), r)
				got := got.take()
				if response.StatusCode != c.want || c.want == 200 && got != string(packed) || c.want != 200 && (len(got) > 0 && coding != "identity" || !strings.Contains(body, "secret_leak")) {
					t.Errorf("%s, %s: got %d %s, %d bytes arrived of %d", coding, name, response.StatusCode, body, len(got), len(packed))
				}
			}
		}
	}
	bomb := pack(t, "gzip", make([]byte, maxDecoded+2))
	for name, c := range map[string]struct {
		coding string
		data   []byte
	}{
		"unknown":   {"compress", []byte("x")},
		"a lie":     {"gzip", []byte(realKey)},
		"cut short": {"gzip", pack(t, "gzip", noise)[:1000]},
		"too many":  {"gzip, gzip, gzip", []byte("x")},
		"a bomb":    {"gzip", bomb},
	} {
		r := request(t, "POST", "https://api.example/", bytes.NewReader(c.data))
		r.Header.Set("Content-Encoding", c.coding)
		got.take()
		if response, body := get(t, l.client(t, true), r); response.StatusCode != http.StatusUnsupportedMediaType || got.take() != "" {
			t.Errorf("%s: got %d %s", name, response.StatusCode, body)
		}
	}
}
