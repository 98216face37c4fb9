//go:build embedguest

package cli

import (
	"embed"
	"io/fs"
)

// guest is what scripts/release puts there: Linux builds for hosts that are not Linux.
//
//go:embed guest
var guest embed.FS

func carried() fs.FS { return guest }
