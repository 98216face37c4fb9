// Package sshd runs a real OpenSSH server for tests: with a host key and a client's key of
// its own, for the user who runs the tests.
package sshd

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Server is one that runs.
type Server struct {
	Port        int
	User        string // whom it lets in
	KeyFile     string // the client's private key
	HostKey     string // "type base64"
	Fingerprint string // of the host key, "SHA256:…"

	process *exec.Cmd
	ended   chan struct{}
}

// program is where Debian's openssh-server puts it; sshd wants to be named by its path.
const program = "/usr/sbin/sshd"

// Available is nil, or why there is no server.
func Available() error {
	_, err := os.Stat(program)
	return err
}

// Start starts a server on an address of this machine. Its files are in dir. The caller
// closes it.
func Start(dir, address string) (*Server, error) {
	who, err := user.Current()
	if err != nil {
		return nil, err
	}
	s := &Server{User: who.Username, KeyFile: filepath.Join(dir, "client")}
	if who.Uid == "0" { // where it wants to separate its privileges
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"host", "client"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", filepath.Join(dir, name)).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("ssh-keygen: %w: %s", err, out)
		}
	}
	public, err := os.ReadFile(filepath.Join(dir, "host.pub"))
	if err != nil {
		return nil, err
	}
	s.HostKey = strings.Join(strings.Fields(string(public))[:2], " ")
	shown, err := exec.Command("ssh-keygen", "-lf", filepath.Join(dir, "host.pub")).Output()
	if err != nil {
		return nil, err
	}
	s.Fingerprint = strings.Fields(string(shown))[1]
	for range 20 { // somebody else may take the port first
		if err = s.try(dir, address); err == nil {
			return s, nil
		}
	}
	return nil, err
}

// KnownHosts is the line by which a client knows the server under a name.
func (s *Server) KnownHosts(host string) string {
	return fmt.Sprintf("[%s]:%d %s\n", host, s.Port, s.HostKey)
}

// URL is that of a repository on this machine, for a client that reaches it under a name.
func (s *Server) URL(host, path string) string {
	return fmt.Sprintf("ssh://%s@%s%s", s.User, net.JoinHostPort(host, strconv.Itoa(s.Port)), path)
}

func (s *Server) try(dir, address string) error {
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return err
	}
	s.Port = l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	lines := []string{
		"Port " + strconv.Itoa(s.Port), "ListenAddress " + address, "HostKey " + filepath.Join(dir, "host"), "AuthorizedKeysFile " + filepath.Join(dir, "client.pub"),
		"StrictModes no", "PidFile none", "PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin yes", "UsePAM no", "MaxStartups 100:30:200",
	}
	config := filepath.Join(dir, "sshd_config")
	if err := os.WriteFile(config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	var said bytes.Buffer
	s.process, s.ended = exec.Command(program, "-D", "-e", "-f", config), make(chan struct{})
	s.process.Stderr = &said
	if err := s.process.Start(); err != nil {
		return err
	}
	go func() { _ = s.process.Wait(); close(s.ended) }()
	for {
		if c, err := net.Dial("tcp", net.JoinHostPort(address, strconv.Itoa(s.Port))); err == nil {
			return c.Close()
		}
		select {
		case <-s.ended:
			return errors.New("sshd does not start: " + said.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Close ends the server, and waits for it.
func (s *Server) Close() {
	_ = s.process.Process.Kill()
	<-s.ended
}
