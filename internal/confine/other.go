//go:build !linux

package confine

// Service is what a process of ours that serves a bottle on the host keeps.
type Service struct {
	Read, Write []string
	Runs, Local bool
	Memory      uint64
}

// Apply does nothing: this system has no such walls.
func (s Service) Apply() error { return nil }

// Forsake does nothing, either.
func Forsake() error { return nil }
