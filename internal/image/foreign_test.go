package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// registryOfOne serves one image of a single file, to whoever knows the password, and returns
// its name by its digest.
func registryOfOne(t *testing.T, word, password string) string {
	t.Helper()
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "word", Mode: 0o644, Size: int64(len(word))}), writeAll(w, word), w.Close()); err != nil {
		t.Fatal(err)
	}
	digest := func(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }
	object := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	const kind = "application/vnd.docker.distribution.manifest.v2+json"
	config := object(map[string]any{"architecture": "amd64", "os": "linux", "config": map[string]any{}, "rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(layer.Bytes())}}})
	describe := func(kind string, data []byte) map[string]any {
		return map[string]any{"mediaType": kind, "size": len(data), "digest": digest(data)}
	}
	manifest := object(map[string]any{"schemaVersion": 2, "mediaType": kind, "config": describe("application/vnd.docker.container.image.v1+json", config),
		"layers": []any{describe("application/vnd.docker.image.rootfs.diff.tar.gzip", layer.Bytes())}})
	served := map[string][]byte{digest(config): config, digest(layer.Bytes()): layer.Bytes(), digest(manifest): manifest}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, said, _ := r.BasicAuth(); said != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="a registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		asked := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		if data, ok := served[asked]; ok {
			if asked == digest(manifest) {
				w.Header().Set("Content-Type", kind)
			}
			w.Header().Set("Docker-Content-Digest", asked)
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			_, _ = w.Write(data)
		} else if r.URL.Path != "/v2/" {
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://") + "/word@" + digest(manifest)
}

func writeAll(w *tar.Writer, text string) error {
	_, err := w.Write([]byte(text))
	return err
}

// An image by its digest is fetched by the engine and must fit a bottle as well: one that
// does not is told with the reason, and is not taken.
func TestAnImageByItsDigest(t *testing.T) {
	b := builder(t, nil)
	name := registryOfOne(t, unique(), "")
	for range 2 {
		_, err := b.EnsureCustom(t.Context(), Custom{Image: name}, func(s string) { t.Log(s) })
		if err == nil || !strings.Contains(err.Error(), "unable to find user node") {
			t.Errorf("got %v", err)
		}
	}
	remove(t, b.Client, name)
}
