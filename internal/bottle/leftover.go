package bottle

import (
	"errors"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/manifest"
)

// CleanupOptions say what a cleanup is to look for.
type CleanupOptions struct {
	// Identity, if it is not "", is the one bottle whose leftovers are looked for, and then
	// nothing that is of no one bottle is.
	Identity string
	// OlderThan leaves out what is younger, and, if it is not zero, counts as left over also
	// a bottle whose last run ended longer ago than that, with its home and workspace.
	OlderThan time.Duration
	// Manifest tells which images are in use; without one no image is looked for.
	Manifest *manifest.Manifest
	Cwd      string // that a Dockerfile of the manifest is relative to
}

// LeftoverKind is what a leftover is.
type LeftoverKind string

const (
	LeftContainer LeftoverKind = "container"
	LeftVolume    LeftoverKind = "volume"
	LeftNetwork   LeftoverKind = "network"
	LeftImage     LeftoverKind = "image"
	LeftState     LeftoverKind = "state"
	LeftMachine   LeftoverKind = "machine"
	LeftBundle    LeftoverKind = "bundle" // host processes, with their sockets
)

// Leftover is something that a bottle left behind.
type Leftover struct {
	Kind     LeftoverKind `json:"kind"`
	Name     string       `json:"name"`
	Identity string       `json:"identity,omitempty"` // of the bottle; "" for what is of no one bottle
	Why      string       `json:"why"`                // it counts as one
	Bytes    *int64       `json:"bytes,omitempty"`    // nil: unknown
	Since    *time.Time   `json:"since,omitempty"`
	Kept     bool         `json:"kept,omitempty"` // it is shown, and never removed: it may hold somebody's work
}

// ErrCameToLife is why a cleanup left something alone after all.
var ErrCameToLife = errors.New("left alone: it is in use by now, or gone")
