package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"sync"
	"time"
)

// maxLeaves bounds the cache: a wildcard route lets the bottle name many hosts.
const maxLeaves = 1024

// Issuer makes leaf certificates under a bottle's CA. It may be used concurrently.
type Issuer struct {
	pair   tls.Certificate
	key    *ecdsa.PrivateKey // one for all leaves: they all live and die with the bottle
	now    func() time.Time
	mu     sync.Mutex
	leaves map[string]*tls.Certificate
}

// NewIssuer reads a CA.
func NewIssuer(certPEM, keyPEM string, now func() time.Time) (*Issuer, error) {
	pair, err := tls.X509KeyPair([]byte(certPEM), []byte(keyPEM))
	if err != nil {
		return nil, fmt.Errorf("cannot read the bottle's CA: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return &Issuer{pair: pair, key: key, now: now, leaves: map[string]*tls.Certificate{}}, nil
}

// Certificate returns one for a host name, which must be normalised already.
func (i *Issuer) Certificate(host string) (*tls.Certificate, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.now()
	if leaf, ok := i.leaves[host]; ok && now.Add(24*time.Hour).Before(leaf.Leaf.NotAfter) {
		return leaf, nil
	}
	leaf, err := i.issue(host, now)
	if err != nil {
		return nil, fmt.Errorf("cannot make a certificate for %s: %w", host, err)
	}
	if len(i.leaves) >= maxLeaves {
		clear(i.leaves)
	}
	i.leaves[host] = leaf
	return leaf, nil
}

func (i *Issuer) issue(host string, now time.Time) (*tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{Organization: []string{"bot-bottle"}},
		NotBefore:    now.Add(-backdate),
		NotAfter:     now.Add(leafLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(host); ip != nil { // no bottle is served one: an address is no name of a route
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, i.pair.Leaf, i.key.Public(), i.pair.PrivateKey)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, i.pair.Certificate[0]}, PrivateKey: i.key, Leaf: parsed}, nil
}
