package bundle

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bot-bottle/bot-bottle/internal/plain"
)

// room reports that the disk of a directory is full, or about to be.
func room(dir string) error {
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		return fmt.Errorf("cannot see how much room there is for it: %w", err)
	}
	free := disk.Bavail
	if ofTheHost() {
		free = disk.Bfree
	}
	bytes := int64(free) * disk.Bsize
	if disk.Blocks == 0 || bytes >= spare { // 0: it has no bounds
		return nil
	}
	return fmt.Errorf("no space left on device: the engine's disk is full (%sB are free, and %sB are kept for the log)", plain.Amount(bytes), plain.Amount(spare))
}

// ofTheHost reports whether our root is the host's, who has also what a file system keeps for root.
func ofTheHost() bool {
	mapped, _ := os.ReadFile("/proc/self/uid_map")
	return strings.Join(strings.Fields(string(mapped)), " ") == "0 0 4294967295"
}
