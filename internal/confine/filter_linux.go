package confine

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Filter is what system calls a process may make: all but these (seccomp(2)).
type Filter struct {
	Refused  []uintptr // numbers; each is EPERM
	Families []uint32  // the address families that sockets may have; netlink is route's alone
}

// newNamespaces are clone(2)'s flags that make any.
const newNamespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// Agent is the filter of what an agent runs: what the profile of the docker backend refuses
// beyond its engine's (DESIGN §3). What a process without a capability cannot do anyway is not
// in it.
func Agent() Filter {
	return Filter{
		Refused: []uintptr{
			unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER, unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
			unix.SYS_BPF, unix.SYS_USERFAULTFD, unix.SYS_PERF_EVENT_OPEN, unix.SYS_FANOTIFY_INIT, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD,
			unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_OPEN_TREE, unix.SYS_FSMOUNT, unix.SYS_MOUNT_SETATTR,
			unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL,
		},
		Families: []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK},
	}
}

// Where the kernel puts what a filter looks at (seccomp(2), struct seccomp_data).
const (
	atNumber, atArch     = 0, 4
	atFirst, atThird     = 16, 32 // low halves of arguments
	x32                  = 0x40000000
	refuse, hide, permit = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM), unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS), unix.SECCOMP_RET_ALLOW
)

// program is the filter as the kernel takes it. Another architecture's calls, which have other
// numbers, are all refused.
func (f Filter) program() ([]bpf.RawInstruction, error) {
	native, err := nativeArch()
	if err != nil {
		return nil, err
	}
	p := []bpf.Instruction{
		bpf.LoadAbsolute{Off: atArch, Size: 4}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: native, SkipTrue: 1}, bpf.RetConstant{Val: refuse},
		bpf.LoadAbsolute{Off: atNumber, Size: 4}, bpf.JumpIf{Cond: bpf.JumpLessThan, Val: x32, SkipTrue: 1}, bpf.RetConstant{Val: hide},
	}
	when := func(number uintptr, then ...bpf.Instruction) {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(number), SkipTrue: uint8(len(then))})
		p = append(p, then...)
	}
	for _, number := range f.Refused {
		when(number, bpf.RetConstant{Val: refuse})
	}
	when(unix.SYS_CLONE3, bpf.RetConstant{Val: hide}) // its flags are in memory, where no filter sees them: libraries use clone then
	when(unix.SYS_CLONE, bpf.LoadAbsolute{Off: atFirst, Size: 4}, bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: newNamespaces, SkipFalse: 1}, bpf.RetConstant{Val: refuse}, bpf.RetConstant{Val: permit})
	when(unix.SYS_SOCKET, f.sockets()...)
	return bpf.Assemble(append(p, bpf.RetConstant{Val: permit}))
}

// sockets decides about socket(2).
func (f Filter) sockets() []bpf.Instruction {
	p := []bpf.Instruction{bpf.LoadAbsolute{Off: atFirst, Size: 4}}
	for _, family := range f.Families {
		if family == unix.AF_NETLINK {
			p = append(p, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: family, SkipTrue: 4}, bpf.LoadAbsolute{Off: atThird, Size: 4},
				bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.NETLINK_ROUTE, SkipFalse: 1}, bpf.RetConstant{Val: permit}, bpf.RetConstant{Val: refuse})
			continue
		}
		p = append(p, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: family, SkipTrue: 1}, bpf.RetConstant{Val: permit})
	}
	return append(p, bpf.RetConstant{Val: refuse})
}

func nativeArch() (uint32, error) {
	switch runtime.GOARCH {
	case "amd64":
		return unix.AUDIT_ARCH_X86_64, nil
	case "arm64":
		return unix.AUDIT_ARCH_AARCH64, nil
	}
	return 0, fmt.Errorf("there is no filter for %s", runtime.GOARCH)
}

// Apply puts the filter in force: for all threads of the process, or for the calling one, which
// is then about to execve(2). It needs no_new_privs, which it sets.
func (f Filter) Apply(allThreads bool) error {
	raw, err := f.program()
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	flags := 0
	if allThreads {
		flags = unix.SECCOMP_FILTER_FLAG_TSYNC
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	stray, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(flags), uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return fmt.Errorf("cannot filter system calls: %w", errno)
	}
	if stray != 0 {
		return fmt.Errorf("cannot filter system calls of thread %d", stray)
	}
	return nil
}
