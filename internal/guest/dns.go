package guest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// ttl of answers, in seconds. An address never changes its meaning; the policy may.
const ttl = 60

// lookupTimeout bounds a question to egress; resolvers try again after 5 s.
const lookupTimeout = 4 * time.Second

// resolver answers the bottle's DNS. Nothing is ever forwarded: the only question that
// leaves is whether the policy knows the name (ATTACKS A1).
type resolver struct {
	lookup func(context.Context, string) (bool, error)
	names  *names
	log    *slog.Logger
}

// ServeDNS implements dns.Handler.
func (r *resolver) ServeDNS(w dns.ResponseWriter, question *dns.Msg) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("a DNS question failed", "err", fmt.Sprint(p))
		}
	}()
	_ = w.WriteMsg(r.answer(ctx, question))
}

func (r *resolver) answer(ctx context.Context, question *dns.Msg) *dns.Msg {
	answer := new(dns.Msg)
	if question.Opcode != dns.OpcodeQuery || len(question.Question) != 1 || question.Response {
		return answer.SetRcode(question, dns.RcodeRefused)
	}
	answer.SetReply(question)
	answer.Authoritative, answer.RecursionAvailable = true, true
	q := question.Question[0]
	name := strings.ToLower(strings.TrimSuffix(q.Name, "."))
	if q.Qclass != dns.ClassINET {
		return answer.SetRcode(question, dns.RcodeRefused)
	}
	if name == "localhost" || strings.HasSuffix(name, ".localhost") { // RFC 6761 §6.3
		answer.Answer = local(q)
		return answer
	}
	allowed, err := r.lookup(ctx, name)
	if err != nil {
		return answer.SetRcode(question, dns.RcodeServerFailure)
	}
	if !allowed {
		return answer.SetRcode(question, dns.RcodeNameError)
	}
	if q.Qtype != dns.TypeA { // no IPv6 in here, nor anything else: an empty answer
		return answer
	}
	address, ok := r.names.address(name)
	if !ok {
		return answer.SetRcode(question, dns.RcodeServerFailure)
	}
	answer.Answer = []dns.RR{record(q, address)}
	return answer
}

func local(q dns.Question) []dns.RR {
	switch q.Qtype {
	case dns.TypeA:
		return []dns.RR{record(q, netip.AddrFrom4([4]byte{127, 0, 0, 1}))}
	case dns.TypeAAAA:
		return []dns.RR{record(q, netip.IPv6Loopback())}
	}
	return nil
}

func record(q dns.Question, a netip.Addr) dns.RR {
	head := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: ttl}
	if a.Is4() {
		return &dns.A{Hdr: head, A: net.IP(a.AsSlice())}
	}
	return &dns.AAAA{Hdr: head, AAAA: net.IP(a.AsSlice())}
}

// dnsServers answers on UDP and TCP. Both sockets are bound when it returns.
func dnsServers(r *resolver) ([]*dns.Server, error) {
	packets, err := net.ListenPacket("udp", dnsAddress)
	if err != nil {
		return nil, fmt.Errorf("cannot answer DNS: %w", err)
	}
	streams, err := net.Listen("tcp", dnsAddress)
	if err != nil {
		_ = packets.Close()
		return nil, fmt.Errorf("cannot answer DNS: %w", err)
	}
	return []*dns.Server{{PacketConn: packets, Handler: r}, {Listener: streams, Handler: r}}, nil
}
