package gitgate

import (
	"bytes"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"strings"

	"golang.org/x/crypto/ssh"
)

// errKeyType is told to the operator.
var errKeyType = errors.New("sign_key must be an ed25519 or an RSA key: others sign the same commit differently each time")

// parseSigner reads a key to sign with. Its signatures must depend on nothing but what is
// signed: so a commit that is pushed again becomes the same one again.
func parseSigner(pem string) (ssh.Signer, error) {
	signer, err := ssh.ParsePrivateKey([]byte(pem))
	if err != nil {
		return nil, errors.New("sign_key cannot be read")
	}
	if kind := signer.PublicKey().Type(); kind != ssh.KeyAlgoED25519 && kind != ssh.KeyAlgoRSA {
		return nil, errKeyType
	}
	return signer, nil
}

// signText signs as ssh-keygen -Y sign -n git does (OpenSSH's PROTOCOL.sshsig), and so as git
// does with gpg.format=ssh.
func signText(signer ssh.Signer, text []byte) (string, error) {
	const magic, namespace, hash = "SSHSIG", "git", "sha512"
	sum := sha512.Sum512(text)
	signed := append([]byte(magic), ssh.Marshal(struct {
		Namespace, Reserved, Hash string
		Sum                       []byte
	}{namespace, "", hash, sum[:]})...)
	var signature *ssh.Signature
	var err error
	if with, ok := signer.(ssh.AlgorithmSigner); ok && signer.PublicKey().Type() == ssh.KeyAlgoRSA {
		signature, err = with.SignWithAlgorithm(rand.Reader, signed, ssh.KeyAlgoRSASHA512)
	} else {
		signature, err = signer.Sign(rand.Reader, signed)
	}
	if err != nil {
		return "", err
	}
	blob := append([]byte(magic), ssh.Marshal(struct {
		Version                   uint32
		Key                       []byte
		Namespace, Reserved, Hash string
		Signature                 []byte
	}{1, signer.PublicKey().Marshal(), namespace, "", hash, ssh.Marshal(*signature)})...)
	var armored bytes.Buffer
	armored.WriteString("-----BEGIN SSH SIGNATURE-----\n")
	for encoded := base64.StdEncoding.EncodeToString(blob); encoded != ""; {
		n := min(70, len(encoded))
		armored.WriteString(encoded[:n] + "\n")
		encoded = encoded[n:]
	}
	armored.WriteString("-----END SSH SIGNATURE-----\n")
	return armored.String(), nil
}

// signCommit is a commit with other parents, without the signature that it may have, and
// with ours, where git puts its own.
func signCommit(signer ssh.Signer, raw []byte, rename map[string]string) ([]byte, error) {
	head, message, ok := bytes.Cut(raw, []byte("\n\n"))
	if !ok {
		return nil, errors.New("a commit without a message cannot be signed")
	}
	var kept strings.Builder
	dropping := false
	for line := range strings.SplitSeq(string(head), "\n") {
		key, rest, _ := strings.Cut(line, " ")
		if dropping = key == "" && dropping || strings.HasPrefix(key, "gpgsig"); dropping {
			continue
		}
		if to := rename[rest]; key == "parent" && to != "" {
			line = "parent " + to
		}
		kept.WriteString(line + "\n")
	}
	unsigned := kept.String() + "\n" + string(message)
	signature, err := signText(signer, []byte(unsigned))
	if err != nil {
		return nil, err
	}
	header := "gpgsig " + strings.ReplaceAll(strings.TrimSuffix(signature, "\n"), "\n", "\n ") + "\n"
	return []byte(kept.String() + header + "\n" + string(message)), nil
}

// signTag is a tag of another object, signed by us alone.
func signTag(signer ssh.Signer, raw []byte, rename map[string]string) ([]byte, error) {
	first, rest, _ := strings.Cut(string(raw), "\n")
	if to := rename[strings.TrimPrefix(first, "object ")]; to != "" {
		first = "object " + to
	}
	for _, begin := range []string{"-----BEGIN SSH SIGNATURE-----", "-----BEGIN PGP SIGNATURE-----", "-----BEGIN PGP MESSAGE-----", "-----BEGIN SIGNED MESSAGE-----"} {
		if i := strings.Index(rest, "\n"+begin); i >= 0 {
			rest = rest[:i+1]
		}
	}
	text := first + "\n" + strings.TrimSuffix(rest, "\n") + "\n"
	signature, err := signText(signer, []byte(text))
	return []byte(text + signature), err
}
