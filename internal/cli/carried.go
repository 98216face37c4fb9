//go:build embedguest

package cli

import (
	"embed"
	"io/fs"
)

// builds are what scripts/release puts there, those for Linux, for hosts that are not Linux.
//
//go:embed guest
var builds embed.FS

func carried() fs.FS { return builds }
