package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

func TestClientThatTrustsTheCAAcceptsALeaf(t *testing.T) {
	ca, err := NewCA("dev-abcdef", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := NewIssuer(ca.CertPEM, ca.KeyPEM, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := issuer.Certificate("api.example")
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(ca.CertPEM))
	for name, want := range map[string]bool{"api.example": true, "other.example": false} {
		client, server := net.Pipe()
		go func() { _ = tls.Server(server, &tls.Config{Certificates: []tls.Certificate{*leaf}}).Handshake() }()
		err := tls.Client(client, &tls.Config{RootCAs: pool, ServerName: name}).Handshake()
		if (err == nil) != want {
			t.Errorf("%s: got %v, want ok=%v", name, err, want)
		}
		_ = client.Close()
	}
}

func TestLeavesAreCachedAndBounded(t *testing.T) {
	ca, _ := NewCA("dev-abcdef", time.Now())
	issuer, err := NewIssuer(ca.CertPEM, ca.KeyPEM, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := issuer.Certificate("a.example")
	if again, _ := issuer.Certificate("a.example"); again != first {
		t.Error("a second certificate for the same name")
	}
	for n := range maxLeaves + 10 {
		if _, err := issuer.Certificate(fmt.Sprintf("h%d.example", n)); err != nil {
			t.Fatal(err)
		}
	}
	if len(issuer.leaves) > maxLeaves {
		t.Errorf("%d leaves cached", len(issuer.leaves))
	}
}

// Attack C13: a CA's key printed by a careless log line.
func TestAttackC13_TheKeyDoesNotPrint(t *testing.T) {
	ca, _ := NewCA("dev-abcdef", time.Now())
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if out := fmt.Sprintf(verb, ca); strings.Contains(out, "PRIVATE") || strings.Contains(out, ca.KeyPEM[30:60]) {
			t.Errorf("%s prints %s", verb, out)
		}
	}
}
