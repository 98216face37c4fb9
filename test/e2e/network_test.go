package e2e

import (
	"fmt"
	"os"
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
// the bottle's two containers have.
func TestAttackC14_NobodyElseCanAsk(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	identity := h.idle()
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
