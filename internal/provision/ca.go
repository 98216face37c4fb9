package provision

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/bot-bottle/bot-bottle/internal/provider"
)

// SystemBundle is where Debian keeps the certificates that a system trusts.
const SystemBundle = "/etc/ssl/certs/ca-certificates.crt"

const (
	caFile    = etc + "/ca.pem"
	storeFile = etc + "/ca.p12"
	storePass = "changeit" // the customary one: a trust store holds nothing secret
)

// CA makes every tool that people run trust the bottle's own CA next to what the
// image trusts. bundle is the image's PEM bundle, and may be empty.
func CA(a *Archive, certificate string, bundle []byte) error {
	all := bytes.Join([][]byte{bytes.TrimSpace(bundle), []byte(certificate)}, []byte("\n"))
	store, err := trustStore(certificate)
	if err != nil {
		return fmt.Errorf("cannot make the bottle's trust store: %w", err)
	}
	for name, data := range map[string][]byte{
		caFile: []byte(certificate), SystemBundle: all, storeFile: store,
		"/usr/local/share/ca-certificates/bot-bottle.crt": []byte(certificate), // survives update-ca-certificates
	} {
		a.Add(provider.File{Path: name, Mode: 0o644, Data: data})
	}
	trustVariables(a)
	return nil
}

// trustVariables names the bundle to the tools that do not read the system's.
func trustVariables(a *Archive) {
	for _, name := range []string{
		"SSL_CERT_FILE",                      // OpenSSL, Go, Ruby, Rust's native roots
		"CURL_CA_BUNDLE",                     // curl with another TLS library
		"REQUESTS_CA_BUNDLE",                 // Python requests
		"PIP_CERT",                           // pip's vendored requests
		"GIT_SSL_CAINFO",                     // git
		"AWS_CA_BUNDLE",                      // AWS CLI and SDKs
		"CARGO_HTTP_CAINFO",                  // cargo
		"NIX_SSL_CERT_FILE",                  // nix
		"CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", // gcloud
	} {
		a.Setenv(name, SystemBundle)
	}
	a.Setenv("NODE_EXTRA_CA_CERTS", caFile) // added to Node's and Bun's own roots
	a.Setenv("DENO_CERT", caFile)           // added to Deno's own roots
	a.Setenv("JAVA_TOOL_OPTIONS", "-Djavax.net.ssl.trustStore="+storeFile+
		" -Djavax.net.ssl.trustStoreType=PKCS12 -Djavax.net.ssl.trustStorePassword="+storePass)
}

// trustStore is the PKCS #12 that Java reads. It holds the bottle's CA alone: all TLS
// that egress lets through is signed by it, and the image's hundred others would cost
// every start some milliseconds.
func trustStore(certificate string) ([]byte, error) {
	block, _ := pem.Decode([]byte(certificate))
	if block == nil {
		return nil, errors.New("the CA is not PEM")
	}
	parsed, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	return pkcs12.Modern.EncodeTrustStore([]*x509.Certificate{parsed}, storePass)
}
