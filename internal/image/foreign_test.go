package image

import (
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
