// Package pki makes a bottle's own certificate authority and, in egress, a certificate
// for each name that the bottle talks to.
//
// The CA's key exists in the memory of the process that made it, for as long as it
// takes to hand it to egress, and in the memory of egress. It must never be written
// anywhere.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// Validity of certificates. A bottle may live for weeks; clocks may differ a little.
const (
	caLife   = 365 * 24 * time.Hour
	leafLife = 90 * 24 * time.Hour
	backdate = time.Hour
)

// CA is a certificate authority for one bottle, in PEM.
type CA struct {
	CertPEM string
	KeyPEM  string // PKCS #8, P-256; a secret
}

// Format implements fmt.Formatter: the key never gets into a log by accident.
func (CA) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[CA]")) }

// NewCA makes one.
func NewCA(bottle string, now time.Time) (CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return CA{}, fmt.Errorf("cannot make the bottle's CA: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{Organization: []string{"bot-bottle"}, CommonName: "bot-bottle " + bottle},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caLife),
		IsCA:                  true,
		MaxPathLenZero:        true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return CA{}, fmt.Errorf("cannot make the bottle's CA: %w", err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return CA{}, fmt.Errorf("cannot make the bottle's CA: %w", err)
	}
	return CA{CertPEM: toPEM("CERTIFICATE", der), KeyPEM: toPEM("PRIVATE KEY", encoded)}, nil
}

func toPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// serial is random and positive, of at most 20 octets (RFC 5280 §4.1.2.2).
func serial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b[:])
}
