package egress

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// guard opens connections to upstreams. It resolves a name once, checks every address
// in the answer, and dials a checked one: there is no second look-up for a rebinding
// name to answer differently (ATTACKS A11).
//
// What goes through the operator's proxy it does not resolve at all: the proxy does
// (docs/decisions/0012-an-upstream-proxy-resolves.md).
type guard struct {
	resolve func(ctx context.Context, network, host string) ([]netip.Addr, error)
	proxy   *proxy // nil: everything is dialled directly
}

const (
	dialTimeout = 10 * time.Second // for each address
	keepAlive   = 30 * time.Second
)

// errAddress is a refusal by the guard: 403, not 502.
type errAddress struct{ reason string }

func (e *errAddress) Error() string { return e.reason }

// dial connects to a route's address, or to the host and port that were asked for.
func (g guard) dial(ctx context.Context, route *policy.Route, host string, port int) (net.Conn, error) {
	asked := host
	if route.Address != "" {
		name, digits, err := net.SplitHostPort(route.Address)
		if err != nil {
			return nil, err
		}
		host = name
		if port, err = strconv.Atoi(digits); err != nil {
			return nil, err
		}
	}
	if g.proxy.carries(route, asked) {
		if why := unfitForProxy(route, host); why != "" {
			return nil, &errAddress{why}
		}
		return g.proxy.connect(ctx, g, policy.Endpoint{Host: host, Port: port}, route.Protocol)
	}
	addresses, err := g.addresses(ctx, host)
	if err != nil {
		return nil, err
	}
	for _, a := range addresses {
		if why := forbidden(a, route.Private); why != "" {
			return nil, &errAddress{fmt.Sprintf("%s is at %s, %s", host, a, why)}
		}
	}
	return dialFirst(ctx, addresses, port)
}

// unfitForProxy says why a connection may not go through a proxy, "" if it may. An address
// is checked as ever; of a name nobody knows here what the proxy makes of it.
func unfitForProxy(route *policy.Route, host string) string {
	if route.Protocol == policy.HTTP && route.Auth != nil {
		return fmt.Sprintf("the upstream proxy would see the credential for %s in clear: name it in no_proxy", route.Host)
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if why := forbidden(a, route.Private); why != "" {
			return fmt.Sprintf("%s is %s", host, why)
		}
		return ""
	}
	if slices.Contains(metadataNames(), strings.ToLower(host)) {
		return host + " is a cloud's metadata service"
	}
	return ""
}

// addresses resolves host, IPv4 first: most bridges have no IPv6.
func (g guard) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	found, err := g.resolve(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s has no address", host)
	}
	for i := range found {
		found[i] = found[i].Unmap()
	}
	slices.SortStableFunc(found, func(a, b netip.Addr) int { return cmp.Compare(a.BitLen(), b.BitLen()) })
	return found, nil
}

func dialFirst(ctx context.Context, addresses []netip.Addr, port int) (net.Conn, error) {
	var failed []error
	dialer := net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}
	for _, a := range addresses {
		conn, err := dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(a, uint16(port)).String())
		if err == nil {
			return conn, nil
		}
		failed = append(failed, err)
	}
	return nil, errors.Join(failed...)
}

// forbidden says why an address may not be dialled, "" if it may.
func forbidden(a netip.Addr, private bool) string {
	a = embedded(a.Unmap().WithZone(""))
	switch {
	case slices.Contains(metadata(), a):
		return "a cloud's metadata service"
	case !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || contains(never(), a):
		return "no address of a server"
	case private:
		return ""
	case a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || contains(local(), a):
		return "a private address, which this route does not allow"
	}
	return ""
}

func contains(prefixes []string, a netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return netip.MustParsePrefix(p).Contains(a) })
}

// metadata services answer whoever asks with credentials of the machine.
func metadata() []netip.Addr {
	return []netip.Addr{
		netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("169.254.170.2"), // most clouds; AWS containers
		netip.MustParseAddr("169.254.170.23"), netip.MustParseAddr("169.254.169.253"), // EKS pod identity; AWS resolver
		netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd00:ec2::23"), netip.MustParseAddr("fd20:ce::254"),
		netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("192.0.0.192"), // Alibaba; Oracle
		netip.MustParseAddr("168.63.129.16"), // Azure's host
	}
}

// metadataNames are what such services are called on the machines that have them. A proxy
// on one of these would resolve them.
func metadataNames() []string {
	return []string{"metadata.google.internal", "metadata.goog", "metadata", "instance-data.ec2.internal", "instance-data", "metadata.tencentyun.com", "metadata.platformequinix.com"}
}

// never are ranges that hold no server for anybody (RFC 6890).
func never() []string {
	return []string{"0.0.0.0/8", "240.0.0.0/4", "255.255.255.255/32"}
}

// local are the ranges that net/netip does not count as private (RFC 6598, 2544, 6890,
// 3879, 4193 and the documentation ranges).
func local() []string {
	return []string{
		"100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24",
		"fc00::/7", "fec0::/10", "2001:db8::/32", "100::/64",
	}
}

// embedded returns the IPv4 address that a transition address leads to: NAT64 (RFC
// 6052), 6to4 (RFC 3056), IPv4-compatible (RFC 4291). Teredo and NAT64 prefixes of
// somebody's own, where we cannot know it, are refused as a whole.
func embedded(a netip.Addr) netip.Addr {
	if !a.Is6() {
		return a
	}
	b := a.As16()
	switch {
	case a.IsLoopback() || a.IsUnspecified():
		return a
	case netip.MustParsePrefix("64:ff9b::/96").Contains(a), netip.MustParsePrefix("::/96").Contains(a):
		return netip.AddrFrom4([4]byte(b[12:16]))
	case netip.MustParsePrefix("2002::/16").Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6]))
	case netip.MustParsePrefix("2001::/32").Contains(a), netip.MustParsePrefix("64:ff9b:1::/48").Contains(a):
		return netip.Addr{}
	}
	return a
}
