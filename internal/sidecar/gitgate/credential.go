package gitgate

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/bot-bottle/bot-bottle/internal/control"
)

// writeCredential writes what git and ssh read to reach one upstream. A credential is in
// files of ours, in memory: not in an environment or an argument list, which others see. socket
// is where a connection may be held, "none" for nowhere.
func writeCredential(dir, socket string, r control.GitRepository, c control.GitConfig) error {
	config := &strings.Builder{}
	section := func(name string, lines ...string) {
		_, _ = fmt.Fprintf(config, "[%s]\n\t%s\n", name, strings.Join(lines, "\n\t"))
	}
	section("core", "hooksPath = /dev/null", "fsmonitor = false", "logAllRefUpdates = false", "sshCommand = "+value("ssh -F "+filepath.Join(dir, "ssh_config")))
	section("protocol", "allow = never")
	section("gc", "auto = 0")
	section("maintenance", "auto = false")
	section("fetch", "fsckObjects = false", "writeCommitGraph = false", "recurseSubmodules = false") // old history has small faults; what is pushed must have none
	section("push", "followTags = false", "gpgSign = false", "recurseSubmodules = no", "useForceIfIncludes = false")
	section("credential", "helper =")
	section("safe", "directory = *")
	if strings.HasPrefix(r.Upstream, "https://") {
		section(`protocol "https"`, "allow = always")
		section("http", "followRedirects = false", "sslVerify = true", "lowSpeedLimit = 1", "lowSpeedTime = 120", "sslCAInfo = "+value(filepath.Join(dir, "ca.pem")))
		if r.Password != "" {
			section("http "+value(r.Upstream), "extraHeader = "+value("Authorization: Basic "+basic(r)))
		}
	} else {
		section(`protocol "ssh"`, "allow = always")
	}
	files := map[string]string{"gitconfig": config.String(), "ssh_config": sshConfig(dir, socket, r), "ca.pem": c.Roots + "\n" + r.CA}
	if r.Key != "" {
		files["key"] = strings.TrimRight(r.Key, "\n") + "\n"
	}
	if r.HostKey == "" {
		files["known_hosts"] = r.KnownHosts
	}
	failed := os.RemoveAll(filepath.Join(dir, "known_hosts")) // what another fingerprint found
	for name, content := range files {
		failed = errors.Join(failed, writeFile(filepath.Join(dir, name), content, 0o600))
	}
	return failed
}

// basic is the credential as HTTP sends it (RFC 7617), "" where there is none.
func basic(r control.GitRepository) string {
	if r.Password == "" {
		return ""
	}
	return base64.StdEncoding.EncodeToString([]byte(r.User + ":" + r.Password))
}

// value quotes one of git-config(1).
func value(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

func knownHostsFile(g git) string { return filepath.Join(filepath.Dir(g.config), "known_hosts") }

// sshConfig is all that ssh reads (ssh_config(5)): one key, the upstream's host key or
// nothing, and none of what a server could ask of a client.
func sshConfig(dir, socket string, r control.GitRepository) string {
	lines := []string{
		"Host *", "BatchMode yes", "StrictHostKeyChecking yes", "UpdateHostKeys no", "CheckHostIP no",
		"UserKnownHostsFile " + filepath.Join(dir, "known_hosts"), "GlobalKnownHostsFile /dev/null", "VerifyHostKeyDNS no",
		"IdentitiesOnly yes", "IdentityAgent none", "PreferredAuthentications publickey",
		"ForwardAgent no", "ForwardX11 no", "ClearAllForwardings yes", "PermitLocalCommand no", "Tunnel no", "ControlMaster no", "ControlPath " + socket,
		"ConnectTimeout 20", "ServerAliveInterval 15", "ServerAliveCountMax 8", "LogLevel ERROR",
	}
	if r.Key != "" {
		lines = append(lines, "IdentityFile "+filepath.Join(dir, "key"))
	} else {
		lines = append(lines, "IdentityFile none")
	}
	return strings.Join(lines, "\n\t") + "\n"
}

// scanHostKey asks the upstream for its host keys, and returns a line of known_hosts with
// the one that has the fingerprint.
func scanHostKey(ctx context.Context, r control.GitRepository) (string, error) {
	host, port := sshAddress(r.Upstream)
	args := []string{"-T", "20"}
	if port != "" {
		args = append(args, "-p", port)
	}
	c := exec.CommandContext(ctx, "/usr/bin/ssh-keyscan", append(args, "--", host)...)
	c.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	c.SysProcAttr = attributes()
	out, err := c.Output()
	if err != nil || len(out) == 0 {
		return "", fmt.Errorf("%s does not answer", host)
	}
	var offered []string
	for line := range strings.Lines(string(out)) {
		_, entry, _ := strings.Cut(strings.TrimSpace(line), " ")
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(entry))
		if err != nil {
			continue
		}
		if ssh.FingerprintSHA256(key) == r.HostKey {
			return line, nil
		}
		offered = append(offered, ssh.FingerprintSHA256(key))
	}
	return "", &otherHostKey{offered}
}

// otherHostKey is that of an upstream with none of the key that the manifest names.
type otherHostKey struct{ offered []string }

// Error implements error.
func (e *otherHostKey) Error() string {
	return "it shows another host key than the one that is pinned: " + strings.Join(e.offered, ", ")
}

// sshAddress is where an ssh upstream is, in either spelling; port is "" for the usual one.
func sshAddress(upstream string) (host, port string) {
	if u, err := url.Parse(upstream); err == nil && u.Scheme == "ssh" {
		return u.Hostname(), u.Port()
	}
	where, _, _ := strings.Cut(upstream, ":")
	if _, after, ok := strings.Cut(where, "@"); ok {
		where = after
	}
	if host, port, err := net.SplitHostPort(where); err == nil {
		return host, port
	}
	return where, ""
}

func localConfig(o Options) string { return filepath.Join(o.Keys, "gitconfig") }

// writeLocal writes the configuration for what the bottle sends and gets.
func writeLocal(o Options) error {
	return writeFile(localConfig(o), fmt.Sprintf(`[core]
	hooksPath = %s
	fsmonitor = false
	logAllRefUpdates = false
	bigFileThreshold = 8m
	packedGitLimit = 256m
[safe]
	directory = *
[protocol]
	allow = never
[gpg]
	program = /bin/false
[gpg "ssh"]
	program = /bin/false
[gpg "x509"]
	program = /bin/false
[uploadpackfilter "sparse:oid"]
	allow = false
[gc]
	auto = 0
[maintenance]
	auto = false
[pack]
	threads = 2
	windowMemory = 64m
[init]
	defaultBranch = main
[http]
	uploadpack = true
	receivepack = true
	getanyfile = false
[transfer]
	advertiseSID = false
[uploadpack]
	allowFilter = true
[receive]
	fsckObjects = true
	unpackLimit = 1
	maxInputSize = %d
	autogc = false
	updateServerInfo = false
	advertisePushOptions = false
	shallowUpdate = false
	denyDeletes = false
	denyCurrentBranch = ignore
	denyDeleteCurrent = ignore
	keepAlive = 5
`, value(filepath.Join(o.Dir, "hooks")), maxPack), 0o600)
}
