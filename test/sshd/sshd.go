// Package sshd runs a real OpenSSH server for tests: with a host key and a client's key of
// its own, for the user who runs the tests.
package sshd

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/bot-bottle/bot-bottle/test/daemon"
)

// Server is one that runs.
type Server struct {
	Port        int
	User        string // whom it lets in
	KeyFile     string // the client's private key
	HostKey     string // "type base64"
	Fingerprint string // of the host key, "SHA256:…"

	dir, address string
	more         []string
	daemon       *daemon.Daemon
}

// program is where Debian's openssh-server puts it; sshd wants to be named by its path.
const program = "/usr/sbin/sshd"

// Available is nil, or why there is no server.
func Available() error {
	_, err := os.Stat(program)
	return err
}

// Start starts a server on an address of this machine. Its files are in dir; more is lines of its
// configuration (sshd_config(5)). The caller closes it.
func Start(dir, address string, more ...string) (*Server, error) {
	who, err := user.Current()
	if err != nil {
		return nil, err
	}
	s := &Server{User: who.Username, KeyFile: filepath.Join(dir, "client"), dir: dir, address: address, more: more}
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
	s.daemon, err = daemon.Start(address, s.command)
	if err != nil {
		said, _ := os.ReadFile(s.log())
		return nil, fmt.Errorf("%w%s", err, said)
	}
	s.Port = s.daemon.Port
	return s, nil
}

// KnownHosts is the line by which a client knows the server under a name.
func (s *Server) KnownHosts(host string) string {
	return fmt.Sprintf("[%s]:%d %s\n", host, s.Port, s.HostKey)
}

// URL is that of a repository on this machine, for a client that reaches it under a name.
func (s *Server) URL(host, path string) string {
	return fmt.Sprintf("ssh://%s@%s%s", s.User, net.JoinHostPort(host, strconv.Itoa(s.Port)), path)
}

func (s *Server) command(port int) (*exec.Cmd, error) {
	lines := []string{
		"Port " + strconv.Itoa(port), "ListenAddress " + s.address, "HostKey " + filepath.Join(s.dir, "host"), "AuthorizedKeysFile " + filepath.Join(s.dir, "client.pub"),
		"StrictModes no", "PidFile none", "PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin yes", "UsePAM no", "MaxStartups 100:30:200",
	}
	lines = append(lines, s.more...)
	config := filepath.Join(s.dir, "sshd_config")
	if err := os.WriteFile(config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return nil, err
	}
	return exec.Command(program, "-D", "-E", s.log(), "-f", config), nil
}

// Impersonate puts a server with another host key in the place of one that was closed.
func (s *Server) Impersonate() (err error) {
	host := filepath.Join(s.dir, "host")
	_ = os.Remove(host)
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", host).CombinedOutput(); err != nil {
		return fmt.Errorf("ssh-keygen: %w: %s", err, out)
	}
	s.daemon, err = daemon.On(s.address, s.Port, s.command)
	return err
}

// Close ends the server and the connections to it, and waits for it.
func (s *Server) Close() {
	s.Drop()
	all := s.connections() // who has come meanwhile
	s.daemon.Close()
	end(all)
}

// Drop ends the connections that there are.
func (s *Server) Drop() { end(s.connections()) }

// Logins is how often somebody was let in.
func (s *Server) Logins() int {
	log, _ := os.ReadFile(s.log()) // there is none before the first
	return strings.Count(string(log), "Accepted publickey ")
}

func (s *Server) log() string { return filepath.Join(s.dir, "sshd.log") }

// connections are the processes that serve one each: the server's children.
func (s *Server) connections() (pids []int) {
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range all {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil && len(fields) > 1 && fields[1] == strconv.Itoa(s.daemon.PID()) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func end(pids []int) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}
