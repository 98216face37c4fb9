package inside

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// walls are what the kernel holds.
func walls() []Attack {
	return []Attack{
		{"A15", "families", "no socket but unix, inet, inet6 and netlink-route can be made", nil, families},
		{"A15", "interfaces", "there is no interface but loopback, and no route", nil, interfaces},
		{"A15", "sockets", "no socket of an engine, a desktop or an ssh agent is in sight", nil, sockets},
		{"A15", "privileges", "root has no capability, cannot gain any, and its system calls are filtered", nil, privileges},
		{"A15", "calls", "system calls that open the kernel up are refused", nil, calls},
		{"A15", "namespaces", "no namespace can be made or joined", nil, namespaces},
		{"A15", "mounts", "nothing of the host's is mounted, and nothing can be mounted or put in place of the bottle's own", nil, mounts},
	}
}

func closing(fd int, err error) error {
	if err == nil {
		_ = unix.Close(fd)
	}
	return err
}

func families(context.Context, *Arena) (all []Attempt) {
	for _, f := range []struct {
		name   string
		number int
	}{
		{"vsock", unix.AF_VSOCK}, {"packet", unix.AF_PACKET}, {"alg", unix.AF_ALG}, {"bluetooth", unix.AF_BLUETOOTH}, {"tipc", unix.AF_TIPC}, {"xdp", unix.AF_XDP},
		{"can", unix.AF_CAN}, {"key", unix.AF_KEY}, {"rds", unix.AF_RDS}, {"nfc", unix.AF_NFC}, {"llc", unix.AF_LLC}, {"qipcrtr", unix.AF_QIPCRTR},
	} {
		for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_SEQPACKET} {
			if err := closing(unix.Socket(f.number, kind, 0)); err == nil {
				all = append(all, Attempt{"a socket of family " + f.name, "it was made", false})
			} else if kind == unix.SOCK_SEQPACKET {
				all = append(all, refused("a socket of family "+f.name, err))
			}
		}
	}
	return append(all,
		refused("a raw ICMP socket", closing(unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP))),
		refused("a netlink socket for audit", closing(unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT))),
		refused("a netlink socket for netfilter", closing(unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER))),
	)
}

func interfaces(context.Context, *Arena) []Attempt {
	list, err := net.Interfaces()
	names := make([]string, len(list))
	for i, at := range list {
		names[i] = at.Name
	}
	found := Attempt{"look for interfaces", fmt.Sprint(strings.Join(names, ", "), " ", errorText(err)), err == nil && slices.Equal(names, []string{"lo"})}
	return []Attempt{found, routes("/proc/net/route", 1), routes("/proc/net/ipv6_route", 0)}
}

// routes counts those that lead elsewhere than to loopback. header lines come first.
func routes(file string, header int) Attempt {
	data, err := os.ReadFile(file)
	var elsewhere []string
	for i, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		if fields := strings.Fields(line); i >= header && len(fields) > 0 && fields[len(fields)-1] != "lo" && fields[0] != "lo" {
			elsewhere = append(elsewhere, line)
		}
	}
	return Attempt{"look for routes in " + file, fmt.Sprintf("%d lead elsewhere %s", len(elsewhere), errorText(err)), len(elsewhere) == 0}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// sockets walks the file system, and asks for what is usually there by name.
func sockets(context.Context, *Arena) (all []Attempt) {
	var found []string
	_ = filepath.WalkDir("/", func(path string, d os.DirEntry, err error) error {
		if err != nil || path == "/proc" || path == "/sys" {
			if d != nil && d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		info, err := d.Info() // what is mounted there, not what is beneath
		if err == nil && info.Mode()&os.ModeSocket != 0 && !strings.HasPrefix(path, "/run/bot-bottle/") && !strings.HasPrefix(path, "/tmp/") {
			found = append(found, path)
		}
		return nil
	})
	all = append(all, Attempt{"look for unix sockets", strings.Join(found, ", "), len(found) == 0}, abstract())
	for _, path := range []string{"/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock", "/run/dbus/system_bus_socket", "@/tmp/.X11-unix/X0", "@/containerd-shim"} {
		conn, err := net.Dial("unix", path)
		if err == nil {
			_ = conn.Close()
		}
		all = append(all, refused("connect "+path, err))
	}
	if path := os.Getenv("SSH_AUTH_SOCK"); path != "" {
		all = append(all, Attempt{"look for an ssh agent", path, false})
	}
	return all
}

// abstract looks at the sockets without a file. The one that is allowed is the guest's own.
func abstract() Attempt {
	data, err := os.ReadFile("/proc/net/unix")
	found := []string{}
	for line := range strings.SplitSeq(string(data), "\n") {
		if i := strings.Index(line, " @"); i >= 0 && !strings.HasPrefix(line[i+1:], "@bot-bottle-") {
			found = append(found, line[i+1:])
		}
	}
	return Attempt{"look for abstract sockets", strings.Join(found, ", ") + errorText(err), len(found) == 0}
}

func privileges(context.Context, *Arena) (all []Attempt) {
	data, err := os.ReadFile("/proc/self/status")
	status := map[string]string{}
	for line := range strings.SplitSeq(string(data), "\n") {
		name, value, _ := strings.Cut(line, ":")
		status[name] = strings.TrimSpace(value)
	}
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		all = append(all, Attempt{"look at " + set, status[set] + errorText(err), strings.Trim(status[set], "0") == "" && status[set] != ""})
	}
	all = append(all, Attempt{"look at no_new_privs", status["NoNewPrivs"], status["NoNewPrivs"] == "1"})
	if gVisor() {
		all = append(all, notOnGVisor("look at seccomp", "the kernel in here is a program, which filters its own calls to the host's"))
	} else {
		all = append(all, Attempt{"look at seccomp", "mode " + status["Seccomp"], status["Seccomp"] == "2"})
	}
	return append(all,
		refused("write /proc/sysrq-trigger", os.WriteFile("/proc/sysrq-trigger", []byte("h"), 0)),
		refused("write /proc/sys/kernel/core_pattern", os.WriteFile("/proc/sys/kernel/core_pattern", []byte("|/tmp/x"), 0)),
	)
}

// gVisor tells its kernel by what it says of itself. It is asked once.
var gVisor = sync.OnceValue(func() bool {
	data, _ := os.ReadFile("/proc/version")
	dmesg, _ := exec.Command("dmesg").Output()
	return strings.Contains(string(data), "gVisor") || strings.Contains(string(dmesg), "gVisor")
})

// notOnGVisor is an attempt that would prove nothing there.
func notOnGVisor(what, why string) Attempt { return Attempt{what, "not tried on gVisor: " + why, true} }

func errno(call uintptr) error {
	if _, _, failed := syscall.Syscall6(call, 0, 0, 0, 0, 0, 0); failed != 0 {
		return failed
	}
	return nil
}

// calls are told from what merely fails by the words of a refusal.
func calls(context.Context, *Arena) (all []Attempt) {
	for _, c := range []struct {
		name   string
		number uintptr
	}{
		{"io_uring_setup", unix.SYS_IO_URING_SETUP}, {"keyctl", unix.SYS_KEYCTL}, {"add_key", unix.SYS_ADD_KEY}, {"bpf", unix.SYS_BPF}, {"userfaultfd", unix.SYS_USERFAULTFD},
		{"perf_event_open", unix.SYS_PERF_EVENT_OPEN}, {"init_module", unix.SYS_INIT_MODULE}, {"kexec_load", unix.SYS_KEXEC_LOAD}, {"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT},
	} {
		err := errno(c.number)
		no := err == unix.EPERM || err == unix.ENOSYS || err == unix.EACCES || err == unix.EOPNOTSUPP
		all = append(all, Attempt{"call " + c.name, "it says: " + errorText(err), no || gVisor() && err != nil})
	}
	return all
}

func namespaces(context.Context, *Arena) (all []Attempt) {
	for _, kind := range []struct {
		name     string
		flag     uintptr
		ofItsOwn bool // on gVisor it is of the kernel in the bottle, and may be made
	}{{"mount", unix.CLONE_NEWNS, true}, {"net", unix.CLONE_NEWNET, false}, {"pid", unix.CLONE_NEWPID, false}, {"user", unix.CLONE_NEWUSER, true}} {
		what := "a process in a new " + kind.name + " namespace"
		if kind.ofItsOwn && gVisor() {
			all = append(all, notOnGVisor(what, "it would be one of the kernel in here, none of the host's; that nothing can be mounted is tried beside this"))
		} else {
			all = append(all, refused(what, clone(kind.flag)))
		}
	}
	return all
}

func clone(flag uintptr) error {
	command := exec.Command("/proc/self/exe", "version")
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flag}
	return command.Run()
}

func mounts(context.Context, *Arena) []Attempt {
	all := []Attempt{fromTheHost()}
	all = append(all,
		refused("mount a file system", unix.Mount("none", "/mnt", "tmpfs", 0, "")),
		refused("mount the sockets again", unix.Mount("none", "/run/bot-bottle", "", unix.MS_REMOUNT|unix.MS_BIND, "")),
		refused("chroot", chrootThere()), refused("make a disk's device", unix.Mknod("/tmp/bot-bottle-disk", unix.S_IFBLK|0o600, 8<<8)),
		refused("take egress's socket away", os.Remove("/run/bot-bottle/egress.sock")),
		refused("put a socket of one's own there", os.WriteFile("/run/bot-bottle/x", nil, 0o600)),
		refused("replace the guest's program", os.WriteFile("/opt/bot-bottle/bot-bottle", []byte("x"), 0o755)),
	)
	return all
}

// chrootThere is tried by another process: it would count for this one.
func chrootThere() error {
	command := exec.Command("/proc/self/exe", "version")
	command.SysProcAttr = &syscall.SysProcAttr{Chroot: "/"}
	return command.Run()
}

// fromTheHost looks at the mounts for directories of the host that people mount. A volume is
// an engine's own.
func fromTheHost() Attempt {
	data, err := os.ReadFile("/proc/self/mountinfo")
	var found []string
	for line := range strings.SplitSeq(string(data), "\n") {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		root := fields[3]
		for _, bad := range []string{"/home", "/root", "/Users", "/etc/passwd", "/var/run/docker.sock", "/run/docker.sock"} {
			if root == bad || strings.HasPrefix(root, bad+"/") {
				found = append(found, root+" at "+fields[4])
			}
		}
	}
	return Attempt{"look for the host's directories among the mounts", strings.Join(found, ", ") + errorText(err), len(found) == 0 && err == nil}
}
