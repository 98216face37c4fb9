package gitgate

import "fmt"

// limits is what git is run by; file is how large one that it writes may become, in bytes.
func limits(file int64) []string {
	return []string{"/usr/bin/prlimit", fmt.Sprintf("--data=%d", maxHeap), fmt.Sprintf("--fsize=%d", file), fmt.Sprintf("--cpu=%d", int(maxCPU.Seconds())), "--core=0", "--"}
}
