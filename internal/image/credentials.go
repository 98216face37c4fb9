package image

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"

	"github.com/bot-bottle/bot-bottle/internal/hostcmd"
)

// Images that a manifest names by their digest may be in a registry that asks who comes. The
// docker command keeps what to tell it, after docker login: in its config.json, or with a
// helper of the system's. Both are read as it reads them. What an operator's Dockerfile, or an approved change, is built
// on is fetched without: those are files of a repository, or words of an agent's.

// dockerHub is what the docker command calls its own registry.
const dockerHub = "https://index.docker.io/v1/"

// helperLimit is how long a credential helper may take: it may ask for a fingerprint.
const helperLimit = time.Minute

// Credential is what the registry of an image is told, as the engine's API takes it; "" for
// nothing.
func (b Builder) Credential(ctx context.Context, ref string) (string, error) {
	found, err := b.credential(ctx, ref)
	if err != nil || found == nil {
		return "", err
	}
	return authconfig.Encode(*found)
}

// credential returns nil where the docker command knows none.
func (b Builder) credential(ctx context.Context, ref string) (*registry.AuthConfig, error) {
	config, err := b.dockerConfig()
	if err != nil {
		return nil, err
	}
	server := registryOf(ref)
	if helper := cmp.Or(config.CredHelpers[server], config.CredsStore); helper != "" {
		found, err := b.askHelper(ctx, helper, server)
		if found != nil || err != nil {
			return found, err
		}
	}
	entry, ok := config.Auths[server]
	if !ok || entry.Auth == "" && entry.IdentityToken == "" {
		return nil, nil
	}
	found := &registry.AuthConfig{ServerAddress: server, IdentityToken: entry.IdentityToken}
	if entry.Auth != "" {
		plain, err := base64.StdEncoding.DecodeString(entry.Auth)
		user, password, cut := strings.Cut(string(plain), ":")
		if err != nil || !cut {
			return nil, fmt.Errorf("docker's credential for %s cannot be read: docker login %[1]s", server) // the cause may quote it
		}
		found.Username, found.Password = user, strings.TrimRight(password, "\x00")
	}
	return found, nil
}

type dockerConfig struct {
	Auths map[string]struct {
		Auth          string `json:"auth"`
		IdentityToken string `json:"identitytoken"`
	} `json:"auths"`
	CredsStore  string            `json:"credsStore"`
	CredHelpers map[string]string `json:"credHelpers"`
}

func (b Builder) dockerConfig() (c dockerConfig, err error) {
	dir := b.Getenv("DOCKER_CONFIG")
	if dir == "" {
		dir = filepath.Join(b.Getenv("HOME"), ".docker")
	}
	if !filepath.IsAbs(dir) {
		return c, nil
	}
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil && json.Unmarshal(data, &c) != nil {
		err = errors.New("it is no JSON of docker's") // the cause may quote a credential
	}
	if err != nil {
		return c, fmt.Errorf("cannot read %s: %w", filepath.Join(dir, "config.json"), err)
	}
	return c, nil
}

// registryOf is the server that an image is fetched from, by the name that docker keeps its
// credential under.
func registryOf(ref string) string {
	first, _, more := strings.Cut(ref, "/")
	if more && (strings.ContainsAny(first, ".:") || first == "localhost") && first != "docker.io" && first != "index.docker.io" {
		return first
	}
	return dockerHub
}

var helperName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)

// tokenUser is the user's name for which a helper gives a token.
const tokenUser = "<token>"

// askHelper returns nil where the helper knows no credential.
func (b Builder) askHelper(ctx context.Context, helper, server string) (*registry.AuthConfig, error) {
	if !helperName.MatchString(helper) {
		return nil, fmt.Errorf("docker's credential helper %q is no name of one", helper)
	}
	ctx, cancel := context.WithTimeout(ctx, helperLimit)
	defer cancel()
	command := hostcmd.Command{Argv: []string{"docker-credential-" + helper, "get"}, Dir: b.helperDir(), Stdin: strings.NewReader(server)}
	out, err := command.Output(ctx)
	if failed := (*hostcmd.RunError)(nil); errors.As(err, &failed) && failed.Code > 0 {
		return nil, nil // so it says that it has none
	}
	if err != nil {
		return nil, fmt.Errorf("cannot ask docker's credential helper about %s: %w", server, err)
	}
	var said struct{ Username, Secret string }
	if json.Unmarshal(out, &said) != nil || said.Secret == "" {
		return nil, fmt.Errorf("docker's credential helper %s says nothing about %s that makes sense", helper, server)
	}
	if said.Username == tokenUser {
		return &registry.AuthConfig{ServerAddress: server, IdentityToken: said.Secret}, nil
	}
	return &registry.AuthConfig{ServerAddress: server, Username: said.Username, Password: said.Secret}, nil
}

// helperDir is where a helper runs: never in the directory at hand, which may be a hostile
// repository's.
func (b Builder) helperDir() string {
	if home := b.Getenv("HOME"); filepath.IsAbs(home) {
		if info, err := os.Stat(home); err == nil && info.IsDir() {
			return home
		}
	}
	return "/"
}
