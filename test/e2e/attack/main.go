//go:build linux

// Command attack tries, from inside a bottle, what its walls must withstand, and prints
// one line "NAME RESULT" each: RESULT is what happened, in the kernel's own words.
package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	for name, family := range map[string]int{
		"socket-vsock": unix.AF_VSOCK, "socket-packet": unix.AF_PACKET, "socket-alg": unix.AF_ALG, "socket-bluetooth": unix.AF_BLUETOOTH,
		"socket-tipc": unix.AF_TIPC, "socket-xdp": unix.AF_XDP, "socket-can": unix.AF_CAN, "socket-key": unix.AF_KEY, "socket-rds": unix.AF_RDS,
	} {
		report(name, closing(unix.Socket(family, unix.SOCK_DGRAM, 0)))
		report(name+"-seqpacket", closing(unix.Socket(family, unix.SOCK_SEQPACKET, 0)))
	}
	report("socket-icmp-raw", closing(unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)))
	report("socket-netlink-route", closing(unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE)))
	report("socket-netlink-audit", closing(unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT)))
	report("socket-netlink-netfilter", closing(unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER)))
	calls()
	dials()
	interfaces()
	sockets()
}

func report(name string, result any) {
	fmt.Println(name, strings.ReplaceAll(fmt.Sprint(result), "\n", " "))
}

func closing(fd int, err error) string {
	if err != nil {
		return err.Error()
	}
	_ = unix.Close(fd)
	return "OPEN"
}

func outcome(err error) string {
	if err != nil {
		return err.Error()
	}
	return "OPEN"
}

// calls are system calls that no agent needs.
func calls() {
	for name, number := range map[string]uintptr{
		"io_uring_setup": unix.SYS_IO_URING_SETUP, "keyctl": unix.SYS_KEYCTL, "add_key": unix.SYS_ADD_KEY, "bpf": unix.SYS_BPF,
		"userfaultfd": unix.SYS_USERFAULTFD, "perf_event_open": unix.SYS_PERF_EVENT_OPEN, "kexec_load": unix.SYS_KEXEC_LOAD,
		"init_module": unix.SYS_INIT_MODULE, "open_by_handle_at": unix.SYS_OPEN_BY_HANDLE_AT,
	} {
		_, _, errno := syscall.Syscall6(number, 0, 0, 0, 0, 0, 0)
		report("call-"+name, errno)
	}
	for name, flag := range map[string]int{"user": unix.CLONE_NEWUSER, "net": unix.CLONE_NEWNET, "mount": unix.CLONE_NEWNS, "pid": unix.CLONE_NEWPID} {
		report("unshare-"+name, outcome(unix.Unshare(flag)))
	}
	command := exec.Command("/bin/true")
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}
	report("clone-user", outcome(command.Run()))
	report("mount", outcome(unix.Mount("none", "/mnt", "tmpfs", 0, "")))
	report("remount-sockets", outcome(unix.Mount("none", "/run/bot-bottle", "", unix.MS_REMOUNT|unix.MS_BIND, "")))
	report("ptrace-init", outcome(unix.PtraceAttach(1)))
	report("sethostname", outcome(unix.Sethostname([]byte("x"))))
	report("chroot", outcome(unix.Chroot("/tmp")))
	report("mknod", outcome(unix.Mknod("/tmp/disk", unix.S_IFBLK|0o600, 8<<8)))
	report("setuid-1000", outcome(setuid(1000)))
	report("write-sysrq", outcome(os.WriteFile("/proc/sysrq-trigger", []byte("h"), 0)))
	report("write-core-pattern", outcome(os.WriteFile("/proc/sys/kernel/core_pattern", []byte("|/tmp/x"), 0)))
	report("replace-socket", outcome(os.Remove("/run/bot-bottle/egress.sock")))
	report("new-socket", outcome(os.WriteFile("/run/bot-bottle/x", nil, 0o600)))
	report("replace-binary", outcome(os.WriteFile("/opt/bot-bottle/bot-bottle", []byte("x"), 0o755)))
}

func setuid(uid int) error {
	_, _, errno := syscall.RawSyscall(syscall.SYS_SETUID, uintptr(uid), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// dials are connections that must not come about. The addresses outside are from the
// ranges for documentation: nobody answers there, and without a route nothing leaves.
func dials() {
	targets := os.Args[1:]
	for _, target := range append(targets,
		"tcp 192.0.2.1:53", "tcp 192.0.2.1:853", "tcp 192.0.2.1:443", "udp 192.0.2.1:53", "udp 192.0.2.1:443", "udp 192.0.2.1:123",
		"tcp [2001:db8::1]:443", "udp [2001:db8::1]:53", "tcp 169.254.169.254:80", "tcp [fe80::1%lo]:80",
	) {
		network, address, _ := strings.Cut(target, " ")
		report("dial-"+network+"-"+address, dial(network, address))
	}
	report("bind-abstract", abstract())
}

// dial sends as well: a datagram socket connects to anything.
func dial(network, address string) string {
	conn, err := net.DialTimeout(network, address, 3*time.Second)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte("x")); err != nil {
		return err.Error()
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil && strings.HasPrefix(network, "tcp") {
		return "connected, then " + err.Error()
	}
	return "OPEN"
}

// abstract counts the abstract unix sockets that are visible here.
func abstract() string {
	data, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return err.Error()
	}
	found := []string{}
	for line := range strings.SplitSeq(string(data), "\n") {
		if i := strings.Index(line, " @"); i >= 0 {
			found = append(found, line[i+1:])
		}
	}
	return fmt.Sprintf("%d abstract sockets %v", len(found), found)
}

func interfaces() {
	list, err := net.Interfaces()
	if err != nil {
		report("interfaces", err)
		return
	}
	var names []string
	for _, i := range list {
		names = append(names, i.Name)
	}
	report("interfaces", strings.Join(names, ","))
	routes, err := os.ReadFile("/proc/net/route")
	report("routes", fmt.Sprintf("%d %v", strings.Count(string(routes), "\n")-1, err))
}

// sockets lists every unix socket in the file system, and the device of its mount.
func sockets() {
	var found []string
	_ = filepath.WalkDir("/", func(path string, d os.DirEntry, err error) error {
		if err != nil || path == "/proc" || path == "/sys" {
			if d != nil && d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if d.Type()&os.ModeSocket != 0 {
			found = append(found, path)
		}
		return nil
	})
	report("sockets", strings.Join(found, ","))
}
