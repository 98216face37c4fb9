package docker

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/moby/moby/client"
)

// Connect returns a client for the engine that the docker command would use:
// $DOCKER_HOST, else the context that $DOCKER_CONTEXT or ~/.docker/config.json
// names (Docker Desktop, colima and rootless engines are found that way), else the
// default socket. It connects to nothing yet. The caller closes the client.
//
// $DOCKER_HOST may be unix://, tcp:// or, with docker on the other side, ssh://.
//
// A request that the engine has taken and does not begin to answer within three minutes
// fails, except over TLS ($DOCKER_CERT_PATH).
func Connect(getenv func(string) string, home string) (*client.Client, error) {
	return connect(getenv, home, answerLimit)
}

// answerLimit is far above what a busy engine needs, a stop's grace included: it is for
// one that hangs.
const answerLimit = 3 * time.Minute

func connect(getenv func(string) string, home string, limit time.Duration) (*client.Client, error) {
	endpoint := getenv("DOCKER_HOST")
	if endpoint == "" {
		var err error
		if endpoint, err = contextHost(getenv, home); err != nil {
			return nil, err
		}
	}
	patient := &http.Client{
		Transport: &http.Transport{
			ResponseHeaderTimeout: limit,
			TLSNextProto:          map[string]func(string, *tls.Conn) http.RoundTripper{}, // no HTTP/2: its set-up would look like a wish for TLS
		},
		CheckRedirect: client.CheckRedirect,
	}
	if strings.HasPrefix(endpoint, "ssh://") {
		remote, err := parseSSH(endpoint)
		if err != nil {
			return nil, err
		}
		patient.Transport.(*http.Transport).MaxIdleConnsPerHost = sshAtOnce
		return client.New(client.WithHTTPClient(patient), client.WithHost("tcp://"+remote.host), client.WithDialContext(remote.dial))
	}
	return client.New(client.WithHTTPClient(patient), client.FromEnv, client.WithHost(cmp.Or(endpoint, client.DefaultDockerHost)))
}

// contextHost reads the endpoint of the chosen docker context; "" for the default
// one. The layout is that of the docker command: a context's directory is named for
// the SHA-256 of its name.
func contextHost(getenv func(string) string, home string) (string, error) {
	dir := getenv("DOCKER_CONFIG")
	if dir == "" {
		dir = filepath.Join(home, ".docker")
	}
	name := getenv("DOCKER_CONTEXT")
	if name == "" {
		var config struct{ CurrentContext string }
		if err := readJSON(filepath.Join(dir, "config.json"), &config); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		name = config.CurrentContext
	}
	if name == "" || name == "default" {
		return "", nil
	}
	sum := sha256.Sum256([]byte(name))
	var meta struct {
		Endpoints map[string]struct{ Host string }
	}
	if err := readJSON(filepath.Join(dir, "contexts", "meta", hex.EncodeToString(sum[:]), "meta.json"), &meta); err != nil {
		return "", fmt.Errorf("cannot read docker context %q: %w", name, err)
	}
	return meta.Endpoints["docker"].Host, nil
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("cannot read %s: %w", path, err)
	}
	return nil
}

// Available is nil when an engine that can run bottles answers.
func (d *Driver) Available(ctx context.Context) error {
	if _, err := d.Client.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		return &UnreachableError{Host: d.Client.DaemonHost(), Err: err}
	}
	return nil
}

// Place is the engine's own id.
func (d *Driver) Place(ctx context.Context) (string, error) {
	info, err := d.Client.Info(ctx, client.InfoOptions{})
	if err != nil {
		return "", &UnreachableError{Host: d.Client.DaemonHost(), Err: err}
	}
	return info.Info.ID, nil
}

// UnreachableError says that no engine answers.
type UnreachableError struct {
	Host string
	Err  error
}

func (e *UnreachableError) Error() string {
	said := strings.Replace(clientsWords.ReplaceAllString(e.Err.Error(), ""), "ssh: ssh: ", "ssh: ", 1)
	switch {
	case said == "":
		return "no docker engine answers at " + e.Host
	case strings.HasPrefix(said, forbidden):
		said = "permission denied"
	}
	return fmt.Sprintf("no docker engine answers at %s: %s", e.Host, said)
}

// clientsWords are what the client puts around the cause, or in its place: the address again, and
// its own request.
var clientsWords = regexp.MustCompile(`^(error during connect: |\w+ "[^"]*": |failed to connect to the docker API at [^ ;]+(; check if [^:]+)?: |Cannot connect to the Docker daemon at [^ ]+\. Is the docker daemon running\?|dial \w+ [^ ]+: connect: )+`)

// forbidden is all that the client leaves of a cause of that kind.
const forbidden = "permission denied while trying to connect "

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *UnreachableError) Hint() string {
	if errors.Is(e.Err, fs.ErrPermission) || strings.HasPrefix(e.Err.Error(), forbidden) {
		return "add yourself to the group that owns the socket (often: docker), then log in again"
	}
	if !strings.HasPrefix(e.Host, "unix://") {
		return "start the engine there, or set DOCKER_HOST or the docker context to another"
	}
	return "start the engine (on Debian as root: scripts/setup), or set DOCKER_HOST"
}
