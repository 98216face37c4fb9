//go:build !linux

package gitgate

import "fmt"

// limits is what git is run by: a shell that sets those that this system has (sh(1), ulimit).
func limits(file int64) []string {
	return []string{"/bin/sh", "-c", fmt.Sprintf("ulimit -c 0 -t %d -f %d; exec \"$@\"", int(maxCPU.Seconds()), file/512), "sh"}
}
