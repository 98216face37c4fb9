//go:build linux

package guest

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestRelayCarriesBothWaysToTheEnd(t *testing.T) {
	dir := socketDir(t)
	l, err := net.Listen("unix", socketPath(dir, "git-gate"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() { // reads to the end, then answers with the hash and the bytes
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		data, _ := io.ReadAll(conn)
		sum := sha256.Sum256(data)
		_, _ = conn.Write(append(sum[:], data...))
	}()
	up(t, dir)
	conn, err := net.Dial("tcp", gitGateAddress)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	data := make([]byte, 8<<20)
	_, _ = rand.Read(data)
	go func() { _, _ = conn.Write(data); _ = conn.(*net.TCPConn).CloseWrite() }()
	got, err := io.ReadAll(conn)
	sum := sha256.Sum256(data)
	if err != nil || !bytes.Equal(got, append(sum[:], data...)) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

func TestMissingServiceIs503(t *testing.T) {
	up(t, socketDir(t))
	response, err := http.Get("http://" + superviseAddress + "/mcp")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, _ := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), "service_unavailable") {
		t.Errorf("got %s %s", response.Status, body)
	}
}

// Git is told how to ask where the agent may, and that there is no gate where it may not.
func TestGitWithoutARepository(t *testing.T) {
	dir := socketDir(t)
	up(t, dir)
	for _, want := range []struct {
		status int
		says   string
	}{{http.StatusServiceUnavailable, "service_unavailable"}, {http.StatusForbidden, `call request_git of the MCP server "operator" with {"repository":"URL"}`}} {
		response, err := http.Get("http://" + gitGateAddress + "/acme/widget/info/refs?service=git-upload-pack")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode != want.status || !strings.Contains(string(body), want.says) {
			t.Errorf("got %s %s, want %v", response.Status, body, want)
		}
		l, err := net.Listen("unix", filepath.Join(dir, "supervise.sock"))
		if err == nil {
			defer func() { _ = l.Close() }()
		}
	}
}

func TestLateEgressIsWaitedFor(t *testing.T) {
	dir := socketDir(t)
	up(t, dir)
	answer := make(chan string, 1)
	go func() {
		response, err := http.Get("http://" + proxyAddress + "/x")
		if err != nil {
			answer <- err.Error()
			return
		}
		defer func() { _ = response.Body.Close() }()
		body, _ := io.ReadAll(response.Body)
		answer <- string(body)
	}()
	time.Sleep(200 * time.Millisecond) // the connection is there before the socket is
	(&fakeEgress{}).serve(t, dir)
	if got := <-answer; got != "proxied /x" {
		t.Errorf("got %q", got)
	}
}

// Attack A1, A3, A4, A5: whatever is asked of the resolver, by UDP or TCP, of any type,
// only the name goes to egress, for a yes or a no; and there is no other resolver.
func TestAttackA1_NothingIsForwarded(t *testing.T) {
	dir := socketDir(t)
	egress := (&fakeEgress{allowed: []string{"api.example"}}).serve(t, dir)
	up(t, dir)
	for _, network := range []string{"udp", "tcp"} {
		client := dns.Client{Net: network}
		for _, c := range []struct {
			name    string
			kind    uint16
			rcode   int
			answers int
		}{
			{"api.example.", dns.TypeA, dns.RcodeSuccess, 1}, {"API.Example.", dns.TypeA, dns.RcodeSuccess, 1},
			{"api.example.", dns.TypeAAAA, dns.RcodeSuccess, 0}, {"api.example.", dns.TypeTXT, dns.RcodeSuccess, 0}, {"api.example.", dns.TypeANY, dns.RcodeSuccess, 0},
			{"c2VjcmV0.evil.example.", dns.TypeA, dns.RcodeNameError, 0}, {"c2VjcmV0.evil.example.", dns.TypeTXT, dns.RcodeNameError, 0},
			{"sub.api.example.", dns.TypeA, dns.RcodeNameError, 0}, {"localhost.", dns.TypeA, dns.RcodeSuccess, 1}, {"localhost.", dns.TypeAAAA, dns.RcodeSuccess, 1},
			{"4.3.2.1.in-addr.arpa.", dns.TypePTR, dns.RcodeNameError, 0},
		} {
			answer, _, err := client.Exchange(new(dns.Msg).SetQuestion(c.name, c.kind), dnsAddress)
			if err != nil || answer.Rcode != c.rcode || len(answer.Answer) != c.answers {
				t.Errorf("%s %s %s: got %v, %v", network, c.name, dns.TypeToString[c.kind], answer, err)
			}
		}
	}
	chaos := new(dns.Msg).SetQuestion("version.bind.", dns.TypeTXT)
	chaos.Question[0].Qclass = dns.ClassCHAOS
	update := new(dns.Msg).SetUpdate("api.example.")
	two := new(dns.Msg).SetQuestion("api.example.", dns.TypeA)
	two.Question = append(two.Question, dns.Question{Name: "evil.example.", Qtype: dns.TypeA, Qclass: dns.ClassINET})
	for _, m := range []*dns.Msg{chaos, update, two} {
		if answer, _, err := new(dns.Client).Exchange(m, dnsAddress); err != nil || answer.Rcode == dns.RcodeSuccess {
			t.Errorf("%v: got %v, %v", m.Question, answer, err)
		}
	}
	if _, err := net.DialTimeout("tcp", "192.0.2.1:53", time.Second); err == nil {
		t.Error("there is a way out of this namespace: the test proves nothing")
	}
	if asked, _ := egress.seen(); !slices.Contains(asked, "c2vjcmv0.evil.example") || slices.Contains(asked, "localhost") {
		t.Errorf("egress was asked for %v", asked)
	}
}

func TestResolverWithoutEgressFails(t *testing.T) {
	r := &resolver{lookup: newPolicy(socket{dir: socketDir(t), name: "egress"}).lookup, names: newNames(), log: slog.New(slog.DiscardHandler)}
	if got := r.answer(t.Context(), new(dns.Msg).SetQuestion("api.example.", dns.TypeA)); got.Rcode != dns.RcodeServerFailure {
		t.Errorf("got %v", got)
	}
}

func TestAddressesAreStableAndBounded(t *testing.T) {
	n := newNames()
	first, _ := n.address("a.example")
	for i := range maxNames - 1 {
		if _, ok := n.address(fmt.Sprintf("h%d.example", i)); !ok {
			t.Fatalf("full after %d", i)
		}
	}
	if _, ok := n.address("one.more.example"); ok {
		t.Error("the table has no bound")
	}
	if again, ok := n.address("a.example"); !ok || again != first {
		t.Errorf("got %v, want %v", again, first)
	}
	if name, _ := n.name(first); name != "a.example" {
		t.Errorf("got %q", name)
	}
	block := netip.MustParsePrefix("127.64.0.0/10")
	for a := range n.byIP {
		if !block.Contains(a) {
			t.Fatalf("%v is not in %v", a, block)
		}
	}
}

// Attack A17: programs without proxy variables. Their connections are carried as a
// CONNECT to the name, at each port of the policy, without losing what the server says
// first; where the policy says no, nothing comes of it.
func TestAttackA17_TransparentConnections(t *testing.T) {
	dir := socketDir(t)
	egress := (&fakeEgress{allowed: []string{"db.example", "gone.example"}, ports: []int{5432}}).serve(t, dir)
	up(t, dir)
	addresses, err := resolve(t, "db.example")
	if err != nil || !hasPrefix(addresses, "127.64.") {
		t.Fatalf("got %v, %v", addresses, err)
	}
	for _, port := range []string{"443", "80", "5432"} {
		conn := dialSoon(t, net.JoinHostPort(addresses[0], port))
		greeting, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil || greeting != "hello from db.example:"+port+"\n" {
			t.Errorf("port %s: got %q, %v", port, greeting, err)
		}
		_ = conn.Close()
	}
	gone, err := resolve(t, "gone.example")
	if err != nil {
		t.Fatal(err)
	}
	egress.mu.Lock()
	egress.allowed = []string{"db.example"} // a grant has ended
	egress.mu.Unlock()
	early := dialSoon(t, net.JoinHostPort(gone[0], "80"))
	_ = early.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if n, err := early.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("before it asked, a client got %d bytes and %v", n, err)
	}
	_ = early.Close()
	response, err := http.Get("http://" + gone[0] + "/")
	if err != nil || response.StatusCode != http.StatusForbidden {
		t.Errorf("refused in clear: got %v, %v", response, err)
	} else {
		_ = response.Body.Close()
	}
	conn := dialSoon(t, net.JoinHostPort(gone[0], "443"))
	if data, _ := io.ReadAll(conn); len(data) > 0 {
		t.Errorf("refused: got %q", data)
	}
	_ = conn.Close()
}

// Attack A8: loopback addresses that stand for no name, on the ports that the guest
// holds open. Nobody is there, and egress hears nothing.
func TestAttackA8_AddressesWithoutANameLeadNowhere(t *testing.T) {
	dir := socketDir(t)
	egress := (&fakeEgress{}).serve(t, dir)
	up(t, dir)
	for _, address := range []string{"127.0.0.1:443", "127.0.0.1:80", "127.1.2.3:80", "127.64.0.1:443", "127.127.255.254:443"} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			continue
		}
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n")
		if data, _ := io.ReadAll(conn); len(data) > 0 {
			t.Errorf("%s: got %q", address, data)
		}
		_ = conn.Close()
	}
	if _, tunnels := egress.seen(); len(tunnels) > 0 {
		t.Errorf("egress was asked for %v", tunnels)
	}
}

func TestPortsFollowThePolicy(t *testing.T) {
	dir := socketDir(t)
	egress := (&fakeEgress{allowed: []string{"a.example"}, ports: []int{8443}}).serve(t, dir)
	theirs, err := net.Listen("tcp", "127.0.0.1:9000") // an agent's own server
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = theirs.Close() }()
	up(t, dir)
	addresses, err := resolve(t, "a.example")
	if err != nil {
		t.Fatal(err)
	}
	_ = dialSoon(t, addresses[0]+":8443").Close()
	egress.setPorts(9000, 9443, 53)
	_ = dialSoon(t, addresses[0]+":9443").Close()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", addresses[0]+":8443")
		if err != nil {
			break
		}
		_ = conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("a port that the policy no longer names stays open")
		}
	}
}

// dialSoon connects to a port that is about to open.
func dialSoon(t *testing.T, address string) net.Conn {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			return conn
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func FuzzDNS(f *testing.F) {
	packed, _ := new(dns.Msg).SetQuestion("api.example.", dns.TypeA).Pack()
	f.Add(packed)
	f.Add([]byte{0, 1, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0xc0, 0x0c, 0, 1, 0, 1})
	r := &resolver{log: slog.New(slog.DiscardHandler), names: newNames(), lookup: allowAll}
	f.Fuzz(func(t *testing.T, data []byte) {
		var question dns.Msg
		if question.Unpack(data) != nil {
			return
		}
		_, _ = r.answer(t.Context(), &question).Pack() // what cannot be written back, the server drops
	})
}
