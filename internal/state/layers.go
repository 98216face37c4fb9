package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Layers are the images that were built for a bottle, on what its manifest names, and that it may
// come back to; what builds on another one comes later.
func (s Store) Layers(identity string) ([]string, error) {
	data, err := os.ReadFile(s.layersFile(identity))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return strings.Fields(string(data)), err
}

// KeepLayers puts others in their place.
func (s Store) KeepLayers(identity string, refs []string) error {
	known, err := s.Layers(identity)
	if err != nil || slices.Equal(known, refs) {
		return err
	}
	return WriteFile(s.layersFile(identity), []byte(strings.Join(refs, "\n")+"\n"))
}

// AddLayer adds one. Two processes must not do so at once.
func (s Store) AddLayer(identity, ref string) error {
	known, err := s.Layers(identity)
	if err != nil || slices.Contains(known, ref) {
		return err
	}
	return s.KeepLayers(identity, append(known, ref))
}

func (s Store) layersFile(identity string) string { return filepath.Join(s.Dir(identity), "layers") }
