package image

import (
	"bytes"
	"encoding/pem"
	"os"
	"path/filepath"
)

// extraCertificates are those that the host trusts besides the usual ones, in PEM; at
// least one line, since Node warns about an empty file.
func (b Builder) extraCertificates() []byte {
	files, _ := filepath.Glob("/usr/local/share/ca-certificates/*.crt")
	for _, name := range []string{"NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"} {
		if file := b.Getenv(name); file != "" {
			files = append(files, file)
		}
	}
	all := bytes.NewBufferString("# certificates of the build host\n")
	seen := map[string]bool{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // npm says soon enough what is missing
		}
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			if block.Type == "CERTIFICATE" && !seen[string(block.Bytes)] {
				seen[string(block.Bytes)] = true
				_ = pem.Encode(all, &pem.Block{Type: block.Type, Bytes: block.Bytes})
			}
		}
	}
	return all.Bytes()
}
