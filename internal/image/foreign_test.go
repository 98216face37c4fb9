package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/test/registry"
)

// registryOfOne serves one image of a single file, to whoever knows the password, and returns
// its name by its digest.
func registryOfOne(t *testing.T, word, password string) string {
	t.Helper()
	server, err := registry.Start("word", []byte(word), password)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server.Ref
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

// A Dockerfile may replace our image, from its first line; and the image that it makes may come
// from a registry, by its digest. Both fit a bottle, and are taken: the second once, without another
// fetch.
func TestAnImageOfSomebodyElses(t *testing.T) {
	b := builder(t, nil)
	word := unique()
	dir := tree(t, map[string]string{"Dockerfile": "FROM ${BOT_BOTTLE_BASE} AS ours\nFROM " + Base + "\n" +
		"RUN useradd --uid 1000 --user-group --create-home node && install -d -o node /workspace && echo " + word + " >/word\nCOPY --from=ours /usr/bin/git /usr/bin/git\n"})
	own, err := b.EnsureCustom(t.Context(), Custom{Base: "custom", Dockerfile: filepath.Join(dir, "Dockerfile"), Program: "sh"}, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	remove(t, b.Client, own.Ref)
	if out := runIn(t, b.Client, own.ID, "cat /word; command -v rg"); out != word+"\n" {
		t.Errorf("it is not the Dockerfile's own: %q", out)
	}
	config, layers := exported(t, b, own.Ref)
	server, err := registry.StartImage("word", config, layers, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	got, err := b.EnsureCustom(t.Context(), Custom{Image: server.Ref, Program: "sh"}, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	remove(t, b.Client, server.Ref)
	remove(t, b.Client, got.Ref)
	if out := runIn(t, b.Client, got.ID, "cat /word; id -un"); out != word+"\nnode\n" {
		t.Errorf("got %q", out)
	}
	server.Close()
	if again, err := b.EnsureCustom(t.Context(), Custom{Image: server.Ref, Program: "sh"}, func(s string) { t.Error(s) }); err != nil || again != got {
		t.Errorf("got %v, %v", again, err)
	}
}

// exported is an image as a registry has it: its configuration and its layers.
func exported(t *testing.T, b Builder, ref string) (config []byte, layers [][]byte) {
	t.Helper()
	archive, err := b.Client.ImageSave(t.Context(), []string{ref})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = archive.Close() }()
	files := map[string][]byte{}
	for entries := tar.NewReader(archive); ; {
		entry, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		var content bytes.Buffer
		if _, err := io.Copy(&content, entries); err != nil { //nolint:gosec // an engine's own
			t.Fatal(err)
		}
		files[entry.Name] = content.Bytes()
	}
	var all []struct {
		Config string
		Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"], &all); err != nil || len(all) != 1 {
		t.Fatalf("got %s, %v", files["manifest.json"], err)
	}
	for _, name := range all[0].Layers {
		layers = append(layers, files[name])
	}
	return files[all[0].Config], layers
}
