package confine

import (
	"fmt"
	"os"

	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"
)

// Service is what a process of ours that serves a bottle on the host keeps.
type Service struct {
	Read  []string // files and directories that it may read, and programs in them run
	Write []string // directories that it may do all in
	Runs  bool     // it may start programs
	Local bool     // it may make unix sockets

	Memory uint64 // bytes that it, and each program that it starts, may have of its own; 0: as it is
}

// Apply takes the rest away from all threads of the process: by Landlock, as far as this
// kernel's goes (none before Linux 5.13), and by a filter of system calls.
func (s Service) Apply() error {
	if s.Memory > 0 {
		if err := unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: s.Memory, Max: s.Memory}); err != nil {
			return fmt.Errorf("cannot limit memory: %w", err)
		}
	}
	var rules []landlock.Rule
	for _, path := range s.Read {
		rule := landlock.ROFiles(path)
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			rule = landlock.RODirs(path)
		}
		rules = append(rules, rule.IgnoreIfMissing())
	}
	for _, path := range s.Write {
		rules = append(rules, landlock.RWDirs(path).WithRefer().WithResolveUnix())
	}
	rules = append(rules, landlock.RWFiles("/dev/null").IgnoreIfMissing())
	everything := landlock.V9 // files, other sockets, and signals outwards
	everything.HandledAccessNet = 0
	if s.Runs {
		// Each thread gets a domain of its own (landlock(7); before ABI 8 there is no other way), and
		// what one has started another could not signal: nothing would end a program that hangs.
		everything.Scoped &^= unix.LANDLOCK_SCOPE_SIGNAL
	}
	if err := everything.BestEffort().Restrict(rules...); err != nil {
		return fmt.Errorf("cannot take files away: %w", err)
	}
	f := Agent()
	f.Refused = append(f.Refused, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV)
	f.Families = []uint32{unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}
	if s.Local {
		f.Families = append(f.Families, unix.AF_UNIX)
	}
	if !s.Runs {
		f.Refused = append(f.Refused, unix.SYS_EXECVE, unix.SYS_EXECVEAT)
	}
	return f.Apply(true)
}
