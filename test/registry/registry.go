// Package registry serves one image over the Docker registry protocol, for tests: on loopback,
// where engines take plain HTTP.
package registry

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
)

// Server is a running registry.
type Server struct {
	*httptest.Server
	Ref string // of its one image, by its digest
}

const manifestType = "application/vnd.docker.distribution.manifest.v2+json"

// Start serves an image of one file, in its root and executable, to whoever says the password
// in Basic credentials; "" lets everybody in. The caller closes it.
func Start(file string, content []byte, password string) (*Server, error) {
	objects, manifest, err := image(file, content)
	if err != nil {
		return nil, err
	}
	s := &Server{Server: httptest.NewServer(handler(objects, manifest, password))}
	s.Ref = strings.TrimPrefix(s.URL, "http://") + "/" + file + "@" + manifest
	return s, nil
}

func handler(objects map[string][]byte, manifest, password string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if _, said, _ := r.BasicAuth(); said != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="a registry"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		asked := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		data, ok := objects[asked]
		switch {
		case ok && asked == manifest:
			w.Header().Set("Content-Type", manifestType)
			fallthrough
		case ok:
			w.Header().Set("Docker-Content-Digest", asked)
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			_, _ = w.Write(data)
		case r.URL.Path != "/v2/":
			http.NotFound(w, r)
		}
	}
}

// image makes the objects of an image, by their digests, and names the manifest's.
func image(file string, content []byte) (objects map[string][]byte, manifest string, err error) {
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	err = w.WriteHeader(&tar.Header{Name: file, Mode: 0o755, Size: int64(len(content))})
	if err == nil {
		_, err = w.Write(content)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, "", err
	}
	objects = map[string][]byte{}
	put := func(data []byte) string {
		digest := fmt.Sprintf("sha256:%x", sha256.Sum256(data))
		objects[digest] = data
		return digest
	}
	describe := func(kind string, data []byte) map[string]any {
		return map[string]any{"mediaType": kind, "size": len(data), "digest": put(data)}
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{}, "rootfs": map[string]any{"type": "layers", "diff_ids": []string{put(layer.Bytes())}},
	})
	if err != nil {
		return nil, "", err
	}
	whole, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "config": describe("application/vnd.docker.container.image.v1+json", config),
		"layers": []any{describe("application/vnd.docker.image.rootfs.diff.tar.gzip", layer.Bytes())},
	})
	return objects, put(whole), err
}
