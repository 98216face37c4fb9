//go:build !embedguest

package cli

import (
	"embed"
	"io/fs"
)

// carried is nothing: this is no release, or one for Linux, which runs itself.
func carried() fs.FS { return embed.FS{} }
