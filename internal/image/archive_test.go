package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// entry is a member of a tar; a link's content is where it leads.
type entry struct {
	name, content string
	link          bool
}

func tarOf(t *testing.T, entries ...entry) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Mode: 0o644, Size: int64(len(e.content))}
		if e.link {
			h = &tar.Header{Typeflag: tar.TypeSymlink, Name: e.name, Linkname: e.content}
		}
		err := w.WriteHeader(h)
		if err == nil && !e.link {
			_, err = io.WriteString(w, e.content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func gzipped(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func digestOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

const bundlePath = "/etc/ssl/certs/ca-certificates.crt"

// savedImage is what docker save writes of an image with these layers.
func savedImage(t *testing.T, layers ...string) []entry {
	t.Helper()
	var all []entry
	var names, diffs []string
	for i, layer := range layers {
		name := fmt.Sprintf("l%d/layer.tar", i)
		all = append(all, entry{name: name, content: layer})
		names, diffs = append(names, name), append(diffs, "sha256:"+digestOf(layer))
	}
	config, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux", "history": []string{"secret build argument"},
		"config": map[string]any{
			"User": "node", "Env": []string{"PATH=/bin"}, "Entrypoint": []string{"/evil"}, "Cmd": []string{"/evil"}, "Volumes": map[string]any{"/host": map[string]any{}},
			"ExposedPorts": map[string]any{"80/tcp": map[string]any{}}, "Healthcheck": map[string]any{"Test": []string{"CMD", "/evil"}}, "Labels": map[string]string{"bot-bottle.owner": "x"},
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
	})
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "c.json", "RepoTags": []string{"a:b"}, "Layers": names}})
	if err != nil {
		t.Fatal(err)
	}
	return append(all, entry{name: "c.json", content: string(config)}, entry{name: "manifest.json", content: string(manifest)})
}

func repack(t *testing.T, archive string) (string, Facts, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(path, []byte(archive), 0o600); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = from.Close() }()
	add := Additions{Dirs: []string{"/opt", "/opt/x"}, Files: map[string]AddedFile{
		"/opt/x/program": {Mode: 0o755, Size: 2, Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("us")), nil }},
	}}
	var to bytes.Buffer
	f, err := Repack(from, &to, add, bundlePath)
	return to.String(), f, err
}

// members reads a tar back.
func members(t *testing.T, archive string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for r := tar.NewReader(strings.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return all
		}
		content, readErr := io.ReadAll(r)
		if err != nil || readErr != nil {
			t.Fatal(err, readErr)
		}
		all[h.Name] = string(content)
	}
}

// An image is carried over layer by layer, as it is, with one layer more and nothing in its
// configuration that says what runs, as whom, or where.
func TestRepack(t *testing.T) {
	bottom := tarOf(t, entry{name: "etc/passwd", content: "root"}, entry{name: "." + bundlePath, content: "old roots"})
	top := gzipped(t, tarOf(t, entry{name: "." + bundlePath, content: "new roots"}))
	plain := tarOf(t, savedImage(t, bottom, bottom, top)...)
	var twice []entry // a layer that an image has twice is a link in older archives
	for _, e := range savedImage(t, bottom, bottom, top) {
		if e.name == "l1/layer.tar" {
			e = entry{name: e.name, content: "../l0/layer.tar", link: true}
		}
		twice = append(twice, e)
	}
	for name, archive := range map[string]string{"plain": plain, "compressed": gzipped(t, plain), "with a link": tarOf(t, twice...)} {
		out, f, err := repack(t, archive)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if f.SHA256 != digestOf(out) {
			t.Errorf("%s: its hash is not %s", name, f.SHA256)
		}
		if string(f.Roots) != "new roots" { // the last layer's
			t.Errorf("%s: it trusts %q", name, f.Roots)
		}
		all := members(t, out)
		var manifest []struct {
			Config string
			Layers []string
		}
		if err := json.Unmarshal([]byte(all["manifest.json"]), &manifest); err != nil || len(manifest) != 1 || len(manifest[0].Layers) != 4 {
			t.Fatalf("%s: %v, %s", name, err, all["manifest.json"])
		}
		var config struct {
			Config  map[string]any
			History []any
			RootFS  struct {
				Diffs []string `json:"diff_ids"`
			}
		}
		if err := json.Unmarshal([]byte(all[manifest[0].Config]), &config); err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{bottom, bottom, top, all[manifest[0].Layers[3]]} {
			if all[manifest[0].Layers[i]] != want || config.RootFS.Diffs[i] != "sha256:"+digestOf(want) {
				t.Errorf("%s: layer %d is another, or its digest is", name, i)
			}
		}
		if added := members(t, all[manifest[0].Layers[3]]); added["opt/x/program"] != "us" || len(added) != 3 {
			t.Errorf("%s: added is %v", name, added)
		}
		keys := []string{}
		for key := range config.Config {
			keys = append(keys, key)
		}
		if slices.Sort(keys); !slices.Equal(keys, []string{"Env", "User"}) || config.Config["User"] != "0:0" || config.History != nil {
			t.Errorf("%s: its configuration is %s", name, all[manifest[0].Config])
		}
	}
}

// What is no image, or more than one, or has not what it says, is refused with a reason.
func TestRepackOfSomethingElse(t *testing.T) {
	layer := tarOf(t, entry{name: "x", content: "y"})
	good := savedImage(t, layer)
	with := func(name, content string) string {
		var changed []entry
		for _, e := range good {
			if e.name == name {
				e.content = content
			}
			changed = append(changed, e)
		}
		return tarOf(t, changed...)
	}
	for name, c := range map[string]struct{ archive, want string }{
		"nothing":                {"", "cannot read it"},
		"no tar":                 {strings.Repeat("hello world ", 99), "it is not what docker save writes"},
		"cut short":              {with("", "")[:600], "it is not what docker save writes"},
		"gzip of nothing":        {"\x1f\x8b", "it is not what docker save writes"},
		"no manifest":            {tarOf(t, entry{name: "x"}), "there is no manifest.json in it"},
		"a manifest that is big": {with("manifest.json", strings.Repeat(" ", maxJSON+1)), "too large"},
		"two images":             {with("manifest.json", `[{"Config":"c.json","Layers":["l0/layer.tar"]},{"Config":"c.json","Layers":["l0/layer.tar"]}]`), "exactly one image"},
		"no layers":              {with("manifest.json", `[{"Config":"c.json","Layers":[]}]`), "exactly one image"},
		"a layer that is absent": {with("manifest.json", `[{"Config":"c.json","Layers":["l9/layer.tar"]}]`), "there is no l9/layer.tar in it"},
		"no configuration":       {with("manifest.json", `[{"Config":"d.json","Layers":["l0/layer.tar"]}]`), "there is no d.json in it"},
		"other layers":           {with("c.json", `{"config":{},"rootfs":{"diff_ids":[]}}`), "does not name its layers"},
		"no JSON":                {with("c.json", "x"), "the image's configuration"},
		"links in a circle":      {tarOf(t, entry{name: "manifest.json", content: "b", link: true}, entry{name: "b", content: "manifest.json", link: true}), "is no file"},
	} {
		if _, _, err := repack(t, c.archive); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}
