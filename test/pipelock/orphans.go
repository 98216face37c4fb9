package main

import (
	"os"
	"os/exec"
	"syscall"
	"time"
)

// hoard asks for a GiB, of which nothing is touched.
func hoard() string {
	if _, err := syscall.Mmap(-1, 0, 1<<30, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON); err != nil {
		return "nothing"
	}
	return "memory"
}

// orphan leaves processes behind that are nobody's: ten that end, and one that does not.
func orphan(what string) error {
	start := func(what string) error {
		c := exec.Command("/proc/self/exe", what)
		c.Args[0], c.Env = os.Args[0], []string{}
		if what == "orphaned" {
			return c.Run()
		}
		return c.Start()
	}
	switch what {
	case "orphans": // the one that was asked
		return start("orphaned")
	case "orphaned": // their parent, which ends
		for range 10 {
			if err := start("orphan-ends"); err != nil {
				return err
			}
		}
		return start("orphan-stays")
	case "orphan-ends":
		time.Sleep(200 * time.Millisecond)
	case "orphan-stays":
		time.Sleep(time.Hour)
	}
	return nil
}
