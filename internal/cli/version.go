package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func (a *App) version() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long:  `Version prints which bot-bottle this is, the Go it was built with, and for which platform.`,
		Example: `  bot-bottle version
  bot-bottle version --json | jq -r .version`,
		Args: nothing,
		RunE: func(*cobra.Command, []string) error {
			v := currentVersion()
			if asJSON {
				return printJSON(a.Stdout, v, false)
			}
			_, err := fmt.Fprintf(a.Stdout, "bot-bottle %s (%s, %s)\n", v.Version, v.Go, v.Platform)
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

type version struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// release is set by the linker in a release (scripts/release), and never changes.
var release string

// currentVersion is the release, or what the Go toolchain stamped into the binary.
func currentVersion() version {
	v := version{Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if release != "" {
		v.Version = release
		return v
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	return v
}
