package doctor

import (
	"context"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// kernel looks at what bottles on this host can use of its kernel.
func (h Host) kernel(context.Context) []bottle.Finding {
	return []bottle.Finding{userNamespaces(), landlock(), kvm()}
}

// userNamespaces are what rootless engines and gVisor need; a bottle itself gets none.
func userNamespaces() bottle.Finding {
	read := func(name string) string {
		data, _ := os.ReadFile("/proc/sys/" + name)
		return strings.TrimSpace(string(data))
	}
	switch {
	case read("user/max_user_namespaces") == "0" || read("kernel/unprivileged_userns_clone") == "0":
		return note("kernel", "user namespaces are off: rootless engines will not run", "sysctl -w user.max_user_namespaces=15000")
	case read("kernel/apparmor_restrict_unprivileged_userns") == "1":
		return note("kernel", "AppArmor restricts user namespaces: rootless engines need a profile", "see the engine's rootless documentation")
	}
	return ok("kernel", "user namespaces")
}

// landlockABI asks for the version that the kernel has (landlock_create_ruleset(2)).
func landlockABI() int {
	version, _, failed := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if failed != 0 {
		return 0
	}
	return int(version)
}

func landlock() bottle.Finding {
	if landlockABI() == 0 {
		return note("kernel", "no Landlock: services that run as host processes are held by seccomp alone", "use a kernel from 5.13 on, with landlock in its lsm list")
	}
	return ok("kernel", "Landlock")
}

func kvm() bottle.Finding {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	switch {
	case os.IsNotExist(err):
		return note("kernel", "no /dev/kvm: micro-VMs cannot run here", "turn virtualisation on in the firmware or, in a VM, nested virtualisation")
	case err != nil:
		return note("kernel", "/dev/kvm cannot be opened: micro-VMs cannot run", "add yourself to the group kvm, then log in again")
	}
	_ = f.Close()
	return ok("kernel", "/dev/kvm")
}
