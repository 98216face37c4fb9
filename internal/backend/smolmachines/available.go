package smolmachines

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// hinted is an error with a next step for the operator.
type hinted struct {
	error
	hint string
}

// Hint says what to do.
func (h *hinted) Hint() string { return h.hint }

// Unwrap returns the cause.
func (h *hinted) Unwrap() error { return h.error }

func withHint(hint, format string, args ...any) error {
	return &hinted{fmt.Errorf(format, args...), hint}
}

const installHint = "install it: https://smolmachines.com (bot-bottle needs 1.9.0 or later)"

// lookPath finds smolvm on the operator's PATH, at an absolute path.
func lookPath(path string) (string, error) {
	for dir := range strings.SplitSeq(path, string(os.PathListSeparator)) {
		if !filepath.IsAbs(dir) {
			continue
		}
		file := filepath.Join(dir, "smolvm")
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", withHint(installHint, "there is no smolvm on PATH: %w", bottle.ErrAbsent)
}

// Available looks at the program, at what it can do, and at what this host has. It boots nothing.
func (d *Driver) Available(ctx context.Context) error {
	_, err := d.probe(ctx)
	return err
}

// probe is Available, and tells the version.
func (d *Driver) probe(ctx context.Context) (version string, err error) {
	if _, err := lookPath(d.Getenv("PATH")); err != nil {
		return "", err
	}
	if version, err = d.version(ctx); err != nil { // another program is not asked anything more
		return "", err
	}
	if err := d.offers(ctx, "create", "exec"); err != nil { // what came last
		return "", err
	}
	if _, err := d.machines(ctx); err != nil {
		return "", withHint("see whether smolvm machine ls --json works, and what is first on PATH by that name", "smolvm does not list its machines: %w", err)
	}
	return version, errors.Join(hypervisor(), d.rootfs())
}

var versionPattern = regexp.MustCompile(`^smolvm (\d+)\.(\d+)\.(\d+)`)

// version refuses another product of the same name, whose versions begin with 0, and what is
// too old.
func (d *Driver) version(ctx context.Context) (string, error) {
	out, err := d.call(ctx, askLimit, []string{"--version"})
	if err != nil {
		return "", withHint(installHint, "cannot ask smolvm for its version: %w", err)
	}
	v := versionPattern.FindStringSubmatch(string(out))
	if v == nil {
		return "", withHint(installHint, "the smolvm on PATH does not say what version it is")
	}
	major, _ := strconv.Atoi(v[1])
	minor, _ := strconv.Atoi(v[2])
	found := v[1] + "." + v[2] + "." + v[3]
	switch {
	case major < 1:
		return "", withHint("put the smolvm of smolmachines.com first on PATH", "the smolvm on PATH is version %s: that is another program of this name", found)
	case major == 1 && minor < 9:
		return "", withHint("upgrade it", "smolvm %s is too old: bot-bottle needs 1.9.0 or later", found)
	}
	return found, nil
}

// needed are the flags that we use, by verb.
func needed() map[string][]string {
	return map[string][]string{
		"create": {"--name", "--image", "--cpus", "--mem", "--storage", "--label", "--mount-socket", "--workdir"},
		"exec":   {"--name", "--workdir", "--env", "--interactive", "--tty", "--stream"},
		"start":  {"--name"}, "stop": {"--name"}, "delete": {"--name", "--force"}, "status": {"--name", "--json"}, "ls": {"--json"}, "data-dir": {"--name"},
	}
}

// offers looks whether verbs have what we use of them, side by side.
func (d *Driver) offers(ctx context.Context, verbs ...string) error {
	group, grouped := errgroup.WithContext(ctx)
	for _, verb := range verbs {
		group.Go(func() error { return d.offersOne(grouped, verb) })
	}
	return group.Wait()
}

// offersOne looks for a verb's flags in what --help says.
func (d *Driver) offersOne(ctx context.Context, verb string) error {
	out, err := d.call(ctx, askLimit, []string{"machine", verb, "--help"})
	if err != nil {
		return withHint(installHint, "the smolvm on PATH has no machine %s: %w", verb, err)
	}
	for _, flag := range needed()[verb] {
		if !tells(string(out), flag) {
			return withHint("upgrade it: https://smolmachines.com", "the smolvm on PATH does not know machine %s %s, without which there is no bottle", verb, flag)
		}
	}
	return nil
}

// tells reports whether a help text has a flag as a word of its own.
func tells(help, flag string) bool {
	for at := 0; ; at++ {
		i := strings.Index(help[at:], flag)
		if i < 0 {
			return false
		}
		at += i
		before, after := help[:at], help[at+len(flag):]
		if !inWord(before[max(0, len(before)-1):]) && !inWord(after[:min(1, len(after))]) {
			return true
		}
	}
}

func inWord(s string) bool {
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == "" && s != ""
}

// hypervisor looks for what machines run on.
func hypervisor() error {
	switch runtime.GOOS {
	case "linux":
		f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
		switch {
		case err == nil:
			return f.Close()
		case errors.Is(err, os.ErrPermission):
			return withHint("add yourself to the group kvm, and log in again: sudo usermod -aG kvm $USER", "/dev/kvm cannot be opened by you")
		case errors.Is(err, os.ErrNotExist):
			return withHint("load KVM (sudo modprobe kvm_intel, or kvm_amd), or switch virtualisation on in the firmware; in a virtual machine, it must be nested", "there is no /dev/kvm")
		}
		return withHint("see what the kernel says of it: sudo dmesg | grep -i kvm", "cannot open /dev/kvm: %w", err)
	case "darwin":
		if runtime.GOARCH != "arm64" {
			return withHint("use the docker backend", "smolvm needs Apple silicon")
		}
		return nil
	}
	return withHint("use the docker backend", "smolvm does not run on %s", runtime.GOOS)
}

// rootfs looks for what smolvm boots.
func (d *Driver) rootfs() error {
	named := d.Getenv("SMOLVM_AGENT_ROOTFS")
	if named == "" { // the wrapper on PATH knows where its own is
		return nil
	}
	if info, err := os.Stat(named); err != nil || !info.IsDir() {
		return withHint("install smolvm again, or unset SMOLVM_AGENT_ROOTFS", "smolvm's agent rootfs %s is no directory", named)
	}
	return nil
}

// Place names where its machines are: another data directory has others.
func (d *Driver) Place(context.Context) (string, error) { return d.place(), nil }

func (d *Driver) place() string {
	for _, variable := range []string{"SMOLVM_DATA_DIR", "XDG_DATA_HOME"} {
		if dir := d.Getenv(variable); dir != "" {
			return "smolvm:" + dir
		}
	}
	return "smolvm:" + d.Getenv("HOME")
}
