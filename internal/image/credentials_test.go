package image

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRegistryOf(t *testing.T) {
	for ref, want := range map[string]string{
		"ghcr.io/a/b@sha256:1": "ghcr.io", "127.0.0.1:5000/a:1": "127.0.0.1:5000", "localhost/a": "localhost", "a": dockerHub, "a/b": dockerHub, "docker.io/a/b": dockerHub,
	} {
		if got := registryOf(ref); got != want {
			t.Errorf("%s: got %s, want %s", ref, got, want)
		}
	}
}

// dockerHome is a home with docker's own files, and helpers on the path.
func dockerHome(t *testing.T, config string, helpers map[string]string) Builder {
	t.Helper()
	home := t.TempDir()
	bin := filepath.Join(home, "bin")
	for _, dir := range []string{bin, filepath.Join(home, ".docker")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(home, ".docker/config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, script := range helpers {
		if err := os.WriteFile(filepath.Join(bin, "docker-credential-"+name), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	return Builder{Getenv: func(name string) string { return map[string]string{"HOME": home}[name] }}
}

func TestCredentials(t *testing.T) {
	const config = `{"auths": {"plain.example": {"auth": "dXNlcjpwYXNz"}, "token.example": {"identitytoken": "id-token"}, "bad.example": {"auth": "%%"}, "helped.example": {}},
		"credHelpers": {"helped.example": "good", "tokens.example": "tokens", "none.example": "none", "silly.example": "../evil", "gone.example": "gone"}}`
	b := dockerHome(t, config, map[string]string{
		"good":   `[ "$1" = get ] && [ "$(cat)" = helped.example ] && echo '{"ServerURL":"x","Username":"me","Secret":"from-helper"}'`,
		"tokens": `echo '{"Username":"<token>","Secret":"id-of-helper"}'`,
		"none":   `echo "credentials not found in native keychain"; exit 1`,
	})
	for server, want := range map[string]string{ // user:password:token; "-" for none, "" for an error
		"plain.example": "user:pass:", "token.example": "::id-token", "helped.example": "me:from-helper:", "tokens.example": "::id-of-helper",
		"none.example": "-", "unknown.example": "-", "bad.example": "", "silly.example": "", "gone.example": "",
	} {
		found, err := b.credential(t.Context(), server+"/image@sha256:1")
		got := "-"
		if err != nil {
			got = ""
		} else if found != nil {
			got = found.Username + ":" + found.Password + ":" + found.IdentityToken
		}
		if got != want {
			t.Errorf("%s: got %q, %v, want %q", server, got, err, want)
		}
	}
}

// A private registry is told what docker login left, by the engine, and only for an image
// that the manifest names.
func TestAPrivateRegistry(t *testing.T) {
	b := builder(t, nil)
	password := unique()
	name := registryOfOne(t, unique(), password)
	server := registryOf(name)
	auth := func(password string) string {
		return fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, server, base64.StdEncoding.EncodeToString([]byte("me:"+password)))
	}
	file := filepath.Join(t.TempDir(), "Dockerfile")
	if err := os.WriteFile(file, []byte("FROM "+name+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, config string
		image        Custom
		fetched      bool
	}{
		{"without", `{}`, Custom{Image: name}, false},
		{"with another password", auth("wrong"), Custom{Image: name}, false},
		{"for a Dockerfile", auth(password), Custom{Dockerfile: file, Base: "sidecar"}, false},
		{"with it", auth(password), Custom{Image: name}, true},
	} {
		b.Getenv = dockerHome(t, c.config, nil).Getenv
		_, err := b.EnsureCustom(t.Context(), c.image, func(string) {})
		if err == nil || c.fetched != strings.Contains(err.Error(), "unable to find user node") {
			t.Errorf("%s: got %v", c.what, err)
		}
		if strings.Contains(fmt.Sprint(err), password) {
			t.Errorf("%s: the password is in %v", c.what, err)
		}
	}
	remove(t, b.Client, name)
}
