package egress

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// forTCP lets a program that knows no sockets in files reach egress; it returns where.
func (l *lab) forTCP(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = near.Close() }()
				far, err := net.Dial("unix", l.socket)
				if err != nil {
					return
				}
				defer func() { _ = far.Close() }()
				go func() { _, _ = io.Copy(far, near) }()
				_, _ = io.Copy(near, far)
			}()
		}
	}()
	return listener.Addr().String()
}

// The real git shows why a repository over https is refused, and how to ask for it: of one on a
// host that is not allowed, and of one on a path that is not.
func TestGitShowsHowToAsk(t *testing.T) {
	up := newOrigin(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	for _, supervised := range []bool{true, false} {
		ca := filepath.Join(t.TempDir(), "ca.pem")
		narrow := up.route("forge.example", nil)
		narrow.Paths = []string{"/acme/**"}
		l := newLabOf(t, func(cfg *control.EgressConfig) {
			cfg.Supervised = supervised
			if err := os.WriteFile(ca, []byte(cfg.CACert), 0o600); err != nil {
				t.Fatal(err)
			}
		}, func(*Server) {}, narrow)
		proxy := "http://" + l.forTCP(t)
		for url, name := range map[string]string{
			"https://git.example/acme/x.git":      "https://git.example/acme/x.git",
			"https://git.example:8443/acme/x":     "https://git.example:8443/acme/x",
			"https://forge.example/other/secrets": "https://forge.example/other/secrets",
		} {
			c := exec.CommandContext(t.Context(), "git", "-c", "http.proxy="+proxy, "-c", "http.sslCAInfo="+ca, "ls-remote", url)
			c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C"}
			out, err := c.CombinedOutput()
			want := "remote: " + name + " is not one of this bottle's repositories"
			if supervised {
				want += `.` + "\n" + `remote: If you need it, call request_git of the MCP server "operator" with {"repository":"` + name + `"}`
			}
			if err == nil || !strings.Contains(string(out), want) || !strings.Contains(string(out), "remote: bot-bottle: ") {
				t.Errorf("%s: %v: %s", url, err, out)
			}
		}
		if events := l.events.String(); strings.Count(events, `"decision":"deny"`) != 3 {
			t.Errorf("the log has %s", events)
		}
	}
}

// Attack B2, B9: a client that says it is git is let into a tunnel, to be told no. It tries to
// get somewhere from there: to another name, with a second request, with a secret on the way,
// or past TLS.
func TestAttackB9_TheTunnelThatSaysNoLeadsNowhere(t *testing.T) {
	asked := make(chan string, 100)
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) { asked <- r.Host + r.URL.Path })
	l := newLab(t, up.route("api.example", nil), policy.Route{Host: "db.example", Port: 5432, Protocol: policy.TCP})
	open := func(host string) net.Conn {
		conn := l.dial(t)
		_, _ = io.WriteString(conn, "CONNECT "+host+" HTTP/1.1\r\nHost: "+host+"\r\nUser-Agent: git/2.39.5\r\n\r\n")
		if status := readStatus(t, conn); status != http.StatusOK {
			t.Fatalf("%s: %d", host, status)
		}
		return conn
	}
	session := func(name string) *tls.Conn {
		return tls.Client(open("evil.example:443"), &tls.Config{RootCAs: l.roots, ServerName: name})
	}
	for name, said := range map[string]string{
		"itself":          "GET /x HTTP/1.1\r\nHost: evil.example\r\n\r\n",
		"another host":    "GET /x HTTP/1.1\r\nHost: api.example\r\n\r\n",
		"absolute":        "GET https://api.example/x HTTP/1.1\r\nHost: api.example\r\n\r\n",
		"a second":        "GET /x HTTP/1.1\r\nHost: evil.example\r\n\r\nGET /x HTTP/1.1\r\nHost: api.example\r\n\r\n",
		"a tunnel in it":  "CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n\r\n",
		"a body":          "POST /x HTTP/1.1\r\nHost: api.example\r\nContent-Length: 3\r\n\r\nabc",
		"an upgrade":      "GET /x HTTP/1.1\r\nHost: api.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"words for a tty": "GET /\x1b]0;x\x07 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
	} {
		secure := session("evil.example")
		if _, err := io.WriteString(secure, said); err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(secure)
		if len(answer) > 0 && !strings.HasPrefix(string(answer), "HTTP/1.1 403 ") || strings.Count(string(answer), "HTTP/1.1") > 1 || strings.ContainsAny(string(answer), "\x1b\x07") {
			t.Errorf("%s: it answers %q", name, answer)
		}
	}
	if err := session("api.example").Handshake(); err == nil {
		t.Error("it has a certificate for another name")
	}
	plain := open("evil.example:443")
	_, _ = io.WriteString(plain, "GET /x HTTP/1.1\r\nHost: api.example\r\n\r\n")
	if answer, _ := io.ReadAll(plain); strings.Contains(string(answer), "200") {
		t.Errorf("without TLS it answers %q", answer)
	}
	for _, host := range []string{"127.0.0.1:443", "[::1]:443", "evil.example:0", "evil.example\x00.api.example:443"} {
		conn := l.dial(t)
		_, _ = io.WriteString(conn, "CONNECT "+host+" HTTP/1.1\r\nHost: "+host+"\r\nUser-Agent: git/2\r\n\r\n")
		if status := readStatus(t, conn); status < 400 {
			t.Errorf("%q: %d", host, status)
		}
	}
	refused := 0
	for range maxAnswers + 8 { // that never ask
		conn := l.dial(t)
		_, _ = io.WriteString(conn, "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\nUser-Agent: git/2\r\n\r\n")
		if readStatus(t, conn) == http.StatusForbidden {
			refused++
		}
	}
	if refused < 8 {
		t.Errorf("%d of %d were refused at once", refused, maxAnswers+8)
	}
	select {
	case where := <-asked:
		t.Errorf("an upstream was asked for %s", where)
	default:
	}
}
