package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"time"

	"golang.org/x/crypto/x509roots/fallback/bundle"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// trust looks at whom this host believes: egress believes the same.
func (h Host) trust(ctx context.Context) []bottle.Finding {
	all := h.proxies()
	all = append(all, judgeRoots(x509.SystemCertPool()))
	found := make([]bottle.Finding, len(h.Hosts))
	var group sync.WaitGroup
	for i, host := range h.Hosts {
		group.Go(func() { found[i] = h.handshake(ctx, host) })
	}
	group.Wait()
	return append(all, found...)
}

// judgeRoots looks at whom this host believes. Where there is no bundle, that is nobody, without
// an error. On macOS the system is asked about each certificate: nothing is listed.
func judgeRoots(pool *x509.CertPool, err error) bottle.Finding {
	switch {
	case err != nil:
		return problem("trust", "this host's certificates cannot be read: "+err.Error(), "install ca-certificates")
	case runtime.GOOS == "linux" && pool.Equal(x509.NewCertPool()):
		return problem("trust", "this host believes no authority: there is no bundle of certificates, and nothing is reached over TLS", "install ca-certificates")
	}
	return ok("trust", "this host has certificates of authorities")
}

// proxies tells of variables that programs here obey, and egress does not.
func (h Host) proxies() (all []bottle.Finding) {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
		if h.Getenv(name) != "" {
			all = append(all, note("trust", name+" is set: egress takes its proxy from the manifest alone", "egress: {upstream_proxy: {url: …}} in the bottle (docs/egress.md)"))
			break
		}
	}
	return all
}

// handshake makes a TLS connection and sends nothing over it.
func (h Host) handshake(ctx context.Context, host string) bottle.Finding {
	dialer := tls.Dialer{Config: &tls.Config{ServerName: host, InsecureSkipVerify: true}} //nolint:gosec // judged below, by two lists of roots; nothing is sent
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(host, "443"))
	if err != nil {
		return note("network", fmt.Sprintf("%s cannot be reached from here: %v", host, short(err)), "bottles could not either, unless through egress: {upstream_proxy: …}")
	}
	defer func() { _ = conn.Close() }()
	return judge(host, conn.(*tls.Conn).ConnectionState().PeerCertificates, h.Now(), nil, public())
}

// short is the last cause of an error of net: the rest repeats the address.
func short(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// judge tells a certificate of the public web from one of whoever looks into TLS on the way.
// system nil is this host's own list.
func judge(host string, chain []*x509.Certificate, now time.Time, system, public *x509.CertPool) bottle.Finding {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	verify := func(roots *x509.CertPool) error {
		_, err := chain[0].Verify(x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: between, CurrentTime: now})
		return err
	}
	issuer := chain[0].Issuer.CommonName
	switch here := verify(system); {
	case here == nil && verify(public) == nil:
		return ok("network", host+" answers, with a certificate of the public web")
	case here == nil:
		return note("network", fmt.Sprintf("something between here and %s looks into TLS: its certificate is from %q", host, issuer), "egress believes what this host believes, so it works; credentials are seen by that proxy too")
	case expired(here):
		return problem("network", fmt.Sprintf("%s shows a certificate that is not valid at this host's time, %s", host, now.UTC().Format(time.RFC3339)), "set the clock")
	}
	return problem("network", fmt.Sprintf("%s shows a certificate from %q, which this host does not believe", host, issuer), "if your network looks into TLS, add its CA to this host's (on Debian: /usr/local/share/ca-certificates, then update-ca-certificates)")
}

func expired(err error) bool {
	var invalid x509.CertificateInvalidError
	return errors.As(err, &invalid) && invalid.Reason == x509.Expired
}

// public are the roots of the public web, as browsers have them.
func public() *x509.CertPool {
	pool := x509.NewCertPool()
	for root := range bundle.Roots() {
		c, err := x509.ParseCertificate(root.Certificate)
		if err != nil {
			continue
		}
		if root.Constraint == nil {
			pool.AddCert(c)
		} else {
			pool.AddCertWithConstraint(c, root.Constraint)
		}
	}
	return pool
}
