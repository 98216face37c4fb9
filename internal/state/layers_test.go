package state

import (
	"errors"
	"slices"
	"testing"
)

func TestLayers(t *testing.T) {
	s := Open(t.TempDir())
	want := func(refs ...string) {
		t.Helper()
		if got, err := s.Layers(identity); err != nil || !slices.Equal(got, refs) {
			t.Errorf("got %v, %v, want %v", got, err, refs)
		}
	}
	want()
	if err := errors.Join(s.Write(Metadata{Identity: identity}), s.AddLayer(identity, "a:1"), s.AddLayer(identity, "b:2"), s.AddLayer(identity, "a:1")); err != nil {
		t.Fatal(err)
	}
	want("a:1", "b:2")
	if err := s.KeepLayers(identity, []string{"c:3"}); err != nil {
		t.Fatal(err)
	}
	want("c:3")
	if err := s.Remove(identity); err != nil {
		t.Fatal(err)
	}
	want()
}
