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
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	err := w.WriteHeader(&tar.Header{Name: file, Mode: 0o755, Size: int64(len(content))})
	if err == nil {
		_, err = w.Write(content)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{}, "rootfs": map[string]any{"type": "layers", "diff_ids": []string{digestOf(layer.Bytes())}},
	})
	if err != nil {
		return nil, err
	}
	return StartImage(file, config, [][]byte{layer.Bytes()}, password)
}

// StartImage serves an image of these layers, archives that are not compressed.
func StartImage(name string, config []byte, layers [][]byte, password string) (*Server, error) {
	objects, manifest, err := image(config, layers)
	if err != nil {
		return nil, err
	}
	s := &Server{Server: httptest.NewServer(handler(objects, manifest, password))}
	s.Ref = strings.TrimPrefix(s.URL, "http://") + "/" + name + "@" + manifest
	return s, nil
}

func digestOf(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

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
func image(config []byte, layers [][]byte) (objects map[string][]byte, manifest string, err error) {
	objects = map[string][]byte{}
	describe := func(kind string, data []byte) map[string]any {
		digest := digestOf(data)
		objects[digest] = data
		return map[string]any{"mediaType": kind, "size": len(data), "digest": digest}
	}
	var all []any
	for _, layer := range layers {
		all = append(all, describe("application/vnd.docker.image.rootfs.diff.tar", layer))
	}
	whole, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType, "config": describe("application/vnd.docker.container.image.v1+json", config), "layers": all,
	})
	manifest = digestOf(whole)
	objects[manifest] = whole
	return objects, manifest, err
}
