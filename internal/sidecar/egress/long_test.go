//go:build !race

package egress

// Long bodies take the race detector too long. make test runs these by themselves.

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// received is what an upstream got of a request, and whether that was all.
type received struct {
	data  []byte
	whole bool
}

// receiver is an origin that tells of each request.
func receiver(t *testing.T) (*origin, chan received) {
	got := make(chan received, 1)
	return newOrigin(t, func(_ http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		got <- received{data, err == nil}
	}), got
}

func noise(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(data)
	return data
}

// Attack C7: a secret leaves in a compressed body that is too long to be held. What is clean
// arrives as it was sent; what is not breaks off before the secret is whole.
func TestAttackC7_LongCompressedBodiesAreSearched(t *testing.T) {
	up, got := receiver(t)
	l := newLab(t, up.route("api.example", keyAuth()))
	long := noise(maxCoded + 1<<20)
	for i, coding := range []string{"gzip", "deflate", "zstd", "gzip, br"} {
		for _, secret := range []string{"", otherPlaceholder}[i%2:] {
			packed := slices.Concat(long, []byte(secret), long[:300_000])
			for part := range strings.SplitSeq(coding, ", ") {
				packed = pack(t, part, packed)
			}
			var body io.Reader = bytes.NewReader(packed)
			if i > 1 {
				body = struct{ io.Reader }{body} // of a length that is not known before
			}
			r := request(t, "POST", "https://api.example/", body)
			r.Header.Set("Content-Encoding", coding)
			response, text := get(t, l.client(t, i > 1), r)
			arrived := <-got
			if secret == "" && (response.StatusCode != 200 || !arrived.whole || !bytes.Equal(arrived.data, packed)) {
				t.Errorf("%s: got %d %s, %d bytes of %d", coding, response.StatusCode, text, len(arrived.data), len(packed))
			}
			if secret != "" && (response.StatusCode != http.StatusForbidden || !strings.Contains(text, "secret_leak") || arrived.whole || len(arrived.data) > len(packed)-200_000) {
				t.Errorf("%s with a placeholder: got %d %s, %d bytes of %d arrived", coding, response.StatusCode, text, len(arrived.data), len(packed))
			}
		}
	}
}

// What is no such coding after all, has more behind it, or is a bomb does not pass to its
// end.
func TestLongCompressedBodiesThatCannotBeSearched(t *testing.T) {
	up, got := receiver(t)
	l := newLab(t, up.route("api.example", nil))
	long := noise(maxCoded + 1<<20)
	for name, c := range map[string]struct {
		coding string
		data   []byte
	}{
		"a lie":     {"gzip", long},
		"cut short": {"gzip", pack(t, "gzip", long)[:maxCoded+1000]},
		"more":      {"zstd", append(pack(t, "zstd", long), "and more"...)},
		"a bomb":    {"gzip", slices.Concat(pack(t, "gzip", make([]byte, 200<<20)), pack(t, "gzip", long))},
	} {
		r := request(t, "POST", "https://api.example/", bytes.NewReader(c.data))
		r.Header.Set("Content-Encoding", c.coding)
		response, body := get(t, l.client(t, false), r)
		if response.StatusCode < 400 {
			t.Errorf("%s: got %d %s", name, response.StatusCode, body)
		}
		if arrived := <-got; arrived.whole {
			t.Errorf("%s: all %d bytes arrived", name, len(arrived.data))
		}
	}
}

// Attack C7: a secret stands where decoders do not show it: in the name or the comment of a
// gzip header, or in a frame that zstd skips. The upstream gets it all the same.
func TestAttackC7_BesideWhatIsCoded(t *testing.T) {
	up, got := receiver(t)
	l := newLab(t, up.route("api.example", keyAuth()))
	for _, size := range []int{1000, maxCoded + 1<<20} {
		text := noise(size)
		var comment bytes.Buffer
		z := gzip.NewWriter(&comment)
		z.Comment = otherPlaceholder
		_, _ = z.Write(text)
		_ = z.Close()
		skipped := binary.LittleEndian.AppendUint32([]byte{0x50, 0x2A, 0x4D, 0x18}, uint32(len(otherPlaceholder)))
		for coding, data := range map[string][]byte{"gzip": comment.Bytes(), "zstd": slices.Concat(skipped, []byte(otherPlaceholder), pack(t, "zstd", text))} {
			r := request(t, "POST", "https://api.example/", bytes.NewReader(data))
			r.Header.Set("Content-Encoding", coding)
			response, body := get(t, l.client(t, true), r)
			if response.StatusCode != http.StatusForbidden || !strings.Contains(body, "secret_leak") {
				t.Errorf("%s, %d bytes: got %d %s", coding, size, response.StatusCode, body)
			}
			select {
			case arrived := <-got:
				if arrived.whole || bytes.Contains(arrived.data, []byte(otherPlaceholder)) {
					t.Errorf("%s, %d bytes: it arrived", coding, size)
				}
			default:
			}
		}
	}
}
