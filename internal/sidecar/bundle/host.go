package bundle

import (
	"errors"
	"os"

	"github.com/bot-bottle/bot-bottle/internal/confine"
	"github.com/bot-bottle/bot-bottle/internal/control"
)

// arguments tell a service where it keeps things.
func (h *Host) arguments() []string {
	if h == nil {
		return nil
	}
	return []string{h.GitDir, h.GitKeys}
}

// HostOf reads what arguments said; nil where there are none.
func HostOf(args []string) (*Host, error) {
	switch len(args) {
	case 0:
		return nil, nil
	case 2:
		return &Host{GitDir: args[0], GitKeys: args[1]}, nil
	}
	return nil, errors.New("that is not how a service is started")
}

// confine closes a service off. In a container, the container's walls do that.
func (h *Host) confine(service control.Service) error {
	if h == nil {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// What the resolver reads (resolv.conf(5), hosts(5)); systemd's stub is a link to below /run.
	resolving := []string{"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/services", "/run/systemd/resolve", "/proc/sys/net/core/somaxconn"}
	switch service {
	case control.GitGate:
		if err := errors.Join(os.MkdirAll(h.GitDir, 0o700), os.MkdirAll(h.GitKeys, 0o700)); err != nil {
			return err
		}
		return confine.Service{
			Read:  append(resolving, "/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/nix/store", "/opt/homebrew", "/proc", "/dev/urandom", self),
			Write: []string{h.GitDir, h.GitKeys}, Runs: true, Local: true,
		}.Apply()
	case control.Egress:
		roots := []string{"/etc/ssl", "/etc/pki", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates"} // where it was told of none
		return confine.Service{Read: append(resolving, roots...)}.Apply()
	}
	return confine.Service{}.Apply()
}

// places are where git-gate keeps things.
func (h *Host) places() (dir, keys, self string, err error) {
	if h == nil {
		return control.GitDir, control.GitKeys, control.Binary, nil
	}
	self, err = os.Executable()
	return h.GitDir, h.GitKeys, self, err
}
