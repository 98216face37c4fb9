package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/test/daemon"
	"github.com/bot-bottle/bot-bottle/test/lab"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// companyProxy is tinyproxy: a proxy that people run, with a password.
type companyProxy struct {
	*daemon.Daemon
	address, password string
	log               string // what it was asked for
}

func startProxy(t *testing.T, host string) *companyProxy {
	t.Helper()
	dir := t.TempDir()
	p := &companyProxy{password: lab.NewKey()[:32], log: filepath.Join(dir, "log")}
	command := func(port int) (*exec.Cmd, error) {
		config := filepath.Join(dir, "tinyproxy.conf")
		lines := fmt.Sprintf("Port %d\nListen %s\nTimeout 60\nLogFile \"%s\"\nLogLevel Info\nMaxClients 50\nBasicAuth bottles %s\n", port, host, p.log, p.password)
		return exec.Command("tinyproxy", "-d", "-c", config), os.WriteFile(config, []byte(lines), 0o600)
	}
	var err error
	if p.Daemon, err = daemon.Start(host, command); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	p.address = net.JoinHostPort(host, strconv.Itoa(p.Port))
	return p
}

// carried counts the tunnels that the proxy opened to a target.
func (p *companyProxy) carried(t *testing.T, target string) int {
	t.Helper()
	log, err := os.ReadFile(p.log)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(log), "CONNECT "+target+" ")
}

// A bottle reaches its hosts through the operator's own proxy, which is a real one with a
// password: with its credential put on within the tunnel, and what no_proxy names directly.
// Neither the proxy nor its password is seen in the bottle, and when the proxy has gone,
// nothing goes around it (ATTACKS A16).
func TestThroughACompanysProxy(t *testing.T) {
	t.Parallel()
	h := open(t, standin.Options{})
	gateway, err := lab.Gateway(t.Context(), h.Engine)
	if err != nil {
		t.Fatal(err)
	}
	up := newUpstreams(t, net.JoinHostPort(gateway, "0"))
	proxy := startProxy(t, gateway)
	target := net.JoinHostPort(gateway, up.port)
	route := func(host, more string) string {
		return fmt.Sprintf("    - {host: %s, %sca: ../upstreams.pem, address: '%s', private: true}\n", host, more, target)
	}
	bottle := "---\nextends: dev\nsecrets: {PROXY_PASSWORD: {file: ../password}, API_TOKEN: {file: ../token}}\negress:\n" +
		"  upstream_proxy: {url: 'http://" + proxy.address + "', auth: {user: bottles, secret: PROXY_PASSWORD}, no_proxy: [git.example]}\n  routes:\n" +
		route("api.example", "auth: {scheme: bearer, secret: API_TOKEN}, ") + route("open.example", "") + route("git.example", "") + "---\n"
	if err := errors.Join(
		h.Write("password", proxy.password), h.Write("token", up.token), h.Write("upstreams.pem", up.ca),
		h.Write("bottles/company.md", bottle), h.Write("agents/company.md", "---\nbottle: company\n---\nYou are the Worker.\n"),
	); err != nil {
		t.Fatal(err)
	}
	identity := strings.TrimSpace(h.run(0, "", "start", "-y", "--detach", "--rm", "company").Stdout)
	exec := func(script string) string {
		r, err := h.Run(t.Context(), nil, "exec", "--root", identity, "--", "sh", "-c", script)
		if err != nil {
			t.Fatal(err)
		}
		return r.Stdout + r.Stderr
	}
	curl := "curl -sS -m 60 -o - -w ' %{http_code}' "
	for i, host := range []string{"api.example", "open.example"} {
		for _, mode := range modes() {
			if got := exec(mode + curl + "https://" + host + "/"); !strings.Contains(got, "42") || !strings.Contains(got, " 200") {
				t.Errorf("%s: got %q", host, got)
			}
		}
		if n := proxy.carried(t, target); n <= i {
			t.Errorf("%s: the proxy opened %d tunnels", host, n)
		}
	}
	before := proxy.carried(t, target)
	if got := exec(curl + "'https://git.example/project.git/info/refs?service=git-upload-pack'"); !strings.Contains(got, " 200") || proxy.carried(t, target) != before {
		t.Errorf("no_proxy: got %q, through the proxy: %d", got, proxy.carried(t, target)-before)
	}
	if found := exec("env; cat /proc/[0-9]*/environ; grep -rIl -e '" + proxy.password + "' -e '" + proxy.address + "' /etc /root /home /run /tmp 2>/dev/null | sed 's/^/holds it: /'"); strings.Contains(found, proxy.password) || strings.Contains(found, proxy.address) || strings.Contains(found, "holds it") {
		t.Errorf("the bottle knows of the proxy: %s", found)
	}
	proxy.Close()
	if got := exec(curl + "https://open.example/again"); !strings.Contains(got, "upstream_proxy_failed") || !strings.Contains(got, " 502") {
		t.Errorf("without the proxy: got %q", got)
	}
	for _, request := range up.requests() {
		if strings.HasSuffix(request, "/again") {
			t.Error("a request went around the proxy")
		}
	}
	h.run(0, "", "stop", identity)
}
