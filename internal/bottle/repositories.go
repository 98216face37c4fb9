package bottle

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/secret"
)

// Repository is a declared repository with all that its gate needs.
type Repository struct {
	manifest.GitRepo
	Address  manifest.Address
	Key      secret.Value // of ssh: a private key without a passphrase
	Hosts    string       // of ssh: lines of known_hosts
	Password secret.Value // of https
	Trusted  string       // of https: PEM besides the host's own roots
	Signing  secret.Value // a private key for signatures; empty where nothing is signed
}

// findRepositories reads the files of repositories, and says what would only come out when
// the agent first asks: then nobody is there to mend it.
func findRepositories(declared []manifest.GitRepo, secrets map[string]secret.Value, problems *Problems) []Repository {
	var all []Repository
	for _, d := range declared {
		r := Repository{GitRepo: d, Password: secrets[d.Secret]}
		var err error
		switch address, ok := d.Address(); {
		case !ok:
			err = fmt.Errorf("its upstream %s cannot be understood", d.Upstream)
		case address.Scheme == "ssh":
			r.Address = address
			err = errors.Join(r.readKey(), r.readHosts())
		default:
			r.Address = address
			err = r.readCA()
		}
		err = errors.Join(err, r.readSignKey())
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				problems.add("git %s: %s", d.Name, line)
			}
			continue
		}
		all = append(all, r)
	}
	return all
}

func (r *Repository) readKey() (err error) {
	if r.IdentityFile == "" {
		return errors.New("an ssh upstream needs identity_file, the key to use (best one of its own: ssh-keygen -t ed25519 -N '')")
	}
	r.Key, err = readPrivateKey("identity_file", r.IdentityFile)
	return err
}

// readSignKey reads the key for signatures. One that signs the same text differently each time
// would make another commit of a commit that is pushed again.
func (r *Repository) readSignKey() (err error) {
	if r.SignKey == "" {
		return nil
	}
	if r.Signing, err = readPrivateKey("sign_key", r.SignKey); err != nil {
		return err
	}
	signer, err := ssh.ParsePrivateKey([]byte(r.Signing.Reveal()))
	if err != nil || signer.PublicKey().Type() != ssh.KeyAlgoED25519 && signer.PublicKey().Type() != ssh.KeyAlgoRSA {
		return fmt.Errorf("sign_key %s must be an ed25519 or an RSA key", r.SignKey)
	}
	return nil
}

// readPrivateKey reads a key that can be used without anybody there.
func readPrivateKey(field, file string) (secret.Value, error) {
	if !regular(file) {
		return secret.Value{}, fmt.Errorf("%s %s is not a file", field, file)
	}
	key, err := os.ReadFile(file)
	if err != nil {
		return secret.Value{}, fmt.Errorf("cannot read %s: %w", field, err)
	}
	defer clear(key)
	var locked *ssh.PassphraseMissingError
	_, err = ssh.ParseRawPrivateKey(key)
	switch {
	case errors.As(err, &locked):
		return secret.Value{}, fmt.Errorf("%s %s has a passphrase, and nobody is there to type it: use a key of its own without one", field, file)
	case bytes.HasPrefix(key, []byte("ssh-")) || bytes.HasPrefix(key, []byte("ecdsa-")):
		return secret.Value{}, fmt.Errorf("%s %s is the public key: name the file without .pub", field, file)
	case err != nil:
		return secret.Value{}, fmt.Errorf("%s %s is no private key that could be used here", field, file)
	}
	return secret.New(string(key)), nil
}

// readHosts reads known_hosts, the operator's own by default, and makes sure that the
// upstream is in it.
func (r *Repository) readHosts() error {
	if r.HostKey != "" {
		return nil
	}
	file := r.KnownHosts
	if file == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return fmt.Errorf("cannot find known_hosts: %w", err)
		}
		file = filepath.Join(home, ".ssh", "known_hosts")
	}
	lines, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the host key of %s is not known, since there is no file %s: name known_hosts or host_key", r.Address.Host, file)
	}
	if err != nil {
		return fmt.Errorf("the host key of %s is not known, since known_hosts cannot be read: %w", r.Address.Host, err)
	}
	check, err := knownhosts.New(file)
	if err != nil {
		return fmt.Errorf("known_hosts %s cannot be read: %w", file, err)
	}
	port := r.Address.Port
	if port == "" {
		port = "22"
	}
	unknown := (*knownhosts.KeyError)(nil)
	if errors.As(check(net.JoinHostPort(r.Address.Host, port), &net.TCPAddr{}, noKey{}), &unknown) && len(unknown.Want) == 0 {
		return fmt.Errorf("%s has no key of %s: compare what ssh-keyscan prints with what its owner publishes, and add it", file, r.Address.Host)
	}
	r.Hosts = string(lines)
	return nil
}

// noKey is nobody's.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return nil }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

func (r *Repository) readCA() error {
	if r.CA == "" {
		return nil
	}
	pem, err := os.ReadFile(r.CA)
	if err != nil {
		return fmt.Errorf("cannot read its ca: %w", err)
	}
	r.Trusted = string(pem)
	return nil
}

// FindRepository reads the files of one repository, as validation does for those that a
// manifest declares.
func FindRepository(r manifest.GitRepo, password secret.Value) (Repository, error) {
	var problems Problems
	found := findRepositories([]manifest.GitRepo{r}, map[string]secret.Value{r.Secret: password}, &problems)
	if len(found) == 0 {
		return Repository{}, problems
	}
	return found[0], nil
}
