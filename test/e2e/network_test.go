package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/test/need"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// unreachable wants each script to fail in a bottle for want of a network, run as root with
// what any image has: bash opens sockets by itself.
func unreachable(t *testing.T, scripts ...string) {
	t.Helper()
	h := open(t, standin.Options{})
	identity := h.idle()
	for _, script := range scripts {
		r := h.inside(identity, "bash -c '"+script+"' 2>&1; echo status $?")
		if strings.Contains(r.Stdout, "status 0") || !strings.Contains(r.Stdout, "unreachable") && !strings.Contains(r.Stdout, "not permitted") && !strings.Contains(r.Stdout, "Couldn") {
			t.Errorf("%s: got %s%s", script, r.Stdout, r.Stderr)
		}
	}
	if r := h.inside(identity, "bash -c 'exec 3<>/dev/tcp/127.0.0.1/3128 && echo there'"); r.Stdout != "there\n" {
		t.Errorf("sockets do not work at all: %s%s", r.Stdout, r.Stderr)
	}
}

// Attack A4: a resolver of one's own: over TCP, over TLS, over HTTPS by its address.
func TestAttackA4_NoResolverElsewhere(t *testing.T) {
	t.Parallel()
	unreachable(t, "exec 3<>/dev/tcp/8.8.8.8/53", "exec 3<>/dev/tcp/9.9.9.9/853", "exec 3<>/dev/tcp/1.1.1.1/443", "curl -sS -m 20 --noproxy \"*\" https://1.1.1.1/dns-query")
}

// Attack A5: questions to a resolver over UDP.
func TestAttackA5_NoDatagramLeaves(t *testing.T) {
	t.Parallel()
	unreachable(t, "echo x >/dev/udp/8.8.8.8/53", "echo x >/dev/udp/172.17.0.1/53")
}

// Attack A6: the same over IPv6, which firewalls forget.
func TestAttackA6_NoIPv6(t *testing.T) {
	t.Parallel()
	unreachable(t, "echo x >/dev/udp/2001:4860:4860::8888/53", "exec 3<>/dev/tcp/2606:4700:4700::1111/443", "exec 3<>/dev/tcp/fd00::1/80")
}

// Attack A7: protocols that no proxy looks into: QUIC, and datagrams large enough to be
// cut.
func TestAttackA7_NoQUIC(t *testing.T) {
	t.Parallel()
	unreachable(t, "echo x >/dev/udp/1.1.1.1/443", "head -c 60000 /dev/zero >/dev/udp/1.1.1.1/443")
}

// Attack C14: another process or user of the machine uses the bottle's proxy, and with it
// its credentials. Egress listens on no network at all, only on a socket in a volume that
// the bottle's two containers have, or in a directory that only the operator can enter.
func TestAttackC14_NobodyElseCanAsk(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	identity := h.idle()
	if h.on == smolvm {
		h.listensNowhere(identity)
		return
	}
	found, err := h.Engine.ContainerInspect(t.Context(), "bot-bottle-"+identity+"-sidecar", client.ContainerInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	listening := 0
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", found.Container.State.Pid, table))
		if err != nil {
			need.Lacking(t, need.Dockerd, err)
		}
		for line := range strings.Lines(string(data)) {
			fields := strings.Fields(line)
			docker := len(fields) > 1 && strings.HasPrefix(fields[1], "0B00007F:") // the engine's own resolver, at 127.0.0.11
			if len(fields) > 3 && (fields[3] == "0A" || table[:3] == "udp" && fields[3] == "07") && !docker {
				listening++
				t.Errorf("the bundle listens: %s %s", table, line)
			}
		}
	}
	if len(found.Container.NetworkSettings.Ports) > 0 {
		t.Errorf("ports are published: %v", found.Container.NetworkSettings.Ports)
	}
}

// Attack C15: what is started beside the agent gets its environment, and with it secrets:
// shells of the operator's, hooks, servers.
func TestAttackC15_SideProcessesHoldNoSecret(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	identity := h.idle()
	for _, as := range [][]string{{"exec", identity, "--"}, {"exec", "--root", identity, "--"}} {
		r := h.run(0, "", append(as, "sh", "-c", "env; sh -c env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'; true")...)
		if strings.Contains(r.Stdout, h.Key) || !strings.Contains(r.Stdout, "ANTHROPIC_API_KEY=sk-ant-") {
			t.Errorf("%v: got %s", as, r.Stdout)
		}
	}
}

// listensNowhere looks at the processes of a bundle on this host: their sockets are of no network, or
// connected, and those that have a name are in a directory of the operator's own.
func (h house) listensNowhere(identity string) {
	t := h.t
	t.Helper()
	owners := map[string]string{} // of a socket's inode
	bundle := h.bundlePID(identity)
	family := append(childrenOf(t, bundle), bundle)
	if len(family) < 2 {
		t.Fatal("the bundle has no services")
	}
	for _, pid := range family {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if to, err := os.Readlink(file); err == nil && strings.HasPrefix(to, "socket:[") {
				owners[strings.TrimSuffix(strings.TrimPrefix(to, "socket:["), "]")] = file
			}
		}
	}
	if len(owners) == 0 {
		t.Fatal("the bundle has no sockets")
	}
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", bundle, table))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			fields := strings.Fields(line)
			if len(fields) > 9 && owners[fields[9]] != "" && (fields[3] == "0A" || table[:3] == "udp" && fields[3] == "07") {
				t.Errorf("the bundle listens: %s %s", table, line)
			}
		}
	}
	dir := h.bundleDir(bundle)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%s: got %v, %v", dir, info, err)
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/unix", bundle))
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) == 8 && owners[fields[6]] != "" {
			named++
			if filepath.Dir(fields[7]) != dir {
				t.Errorf("the bundle has a socket elsewhere: %s", line)
			}
		}
	}
	if named == 0 {
		t.Error("the bundle's sockets have no names")
	}
}

func childrenOf(t *testing.T, pid int) (all []int) {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		data, _ := os.ReadFile(list) // a thread may have ended
		for field := range strings.FieldsSeq(string(data)) {
			child, _ := strconv.Atoi(field)
			all = append(all, child)
		}
	}
	return all
}
