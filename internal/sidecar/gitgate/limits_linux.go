package gitgate

import "fmt"

// limits is what git is run by.
func limits() []string {
	return []string{"/usr/bin/prlimit", fmt.Sprintf("--data=%d", maxHeap), fmt.Sprintf("--fsize=%d", int64(maxFile)), fmt.Sprintf("--cpu=%d", int(maxCPU.Seconds())), "--core=0", "--"}
}
