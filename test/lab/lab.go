// Package lab sets up what the demo, the benchmarks and the tests with a real engine
// share: a stand-in upstream, a $BOT_BOTTLE_HOME that leads to it, and the program.
package lab

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/backend/docker"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

// Runtime is the variable that names the runtime of a lab's bottles, for tests that are run on
// another one than the engine's usual; auto without it.
const Runtime = "BOT_BOTTLE_LAB_RUNTIME"

// Lab is one $BOT_BOTTLE_HOME with a stand-in behind it.
type Lab struct {
	Home    string
	Binary  string
	Key     string // the real key, which only the stand-in may ever see
	Standin *standin.Server
	Engine  *client.Client
	Extra   []string // more for the program's environment
}

// New makes a lab in dir, an empty directory. The caller closes it.
func New(ctx context.Context, dir, binary string, o standin.Options) (_ *Lab, err error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, err
	}
	engine, err := docker.Connect(os.Getenv, home)
	if err != nil {
		return nil, err
	}
	l := &Lab{Home: dir, Binary: binary, Key: NewKey(), Engine: engine}
	gateway, err := Gateway(ctx, engine)
	if err != nil {
		return nil, err
	}
	o.Key, o.Listen = l.Key, net.JoinHostPort(gateway, "0")
	if l.Standin, err = standin.New(o); err != nil {
		return nil, err
	}
	return l, l.Furnish("host.docker.internal")
}

// Endpoint is where the engine is reached.
func Endpoint() string {
	if host := os.Getenv("DOCKER_HOST"); host != "" {
		return host
	}
	return client.DefaultDockerHost
}

// NewKey makes a key that is found nowhere else.
func NewKey() string {
	var b [40]byte
	_, _ = rand.Read(b[:])
	return "sk-ant-api03-real-" + hex.EncodeToString(b[:])
}

// Gateway is an address of this host that containers reach: the default bridge's, or
// loopback where the engine is not on this host's own kernel. An engine that has just been
// installed does not name the address, only its device, and some only the network.
func Gateway(ctx context.Context, engine *client.Client) (string, error) {
	bridge, err := engine.NetworkInspect(ctx, "bridge", client.NetworkInspectOptions{})
	if err != nil {
		return "", fmt.Errorf("cannot find the address of the engine's bridge: %w", err)
	}
	addresses := addressesOf(bridge.Network.Options["com.docker.network.bridge.name"])
	for _, config := range bridge.Network.IPAM.Config {
		addresses = append(addresses, config.Gateway, addressIn(config.Subnet))
	}
	for _, address := range addresses {
		if !address.Is4() {
			continue
		}
		if probe, err := net.Listen("tcp", netip.AddrPortFrom(address, 0).String()); err == nil {
			return address.String(), probe.Close()
		}
	}
	return "127.0.0.1", nil
}

// addressesOf a device of this host; none if there is no such device.
func addressesOf(device string) []netip.Addr {
	found, err := net.InterfaceByName(device)
	if err != nil {
		return nil
	}
	networks, _ := found.Addrs() // none, then
	var all []netip.Addr
	for _, network := range networks {
		if prefix, err := netip.ParsePrefix(network.String()); err == nil {
			all = append(all, prefix.Addr())
		}
	}
	return all
}

// addressIn is this host's own address in a network; the zero address if it has none.
func addressIn(network netip.Prefix) netip.Addr {
	all, _ := net.InterfaceAddrs()
	for _, a := range all {
		if own, err := netip.ParsePrefix(a.String()); err == nil && network.Contains(own.Addr()) {
			return own.Addr()
		}
	}
	return netip.Addr{}
}

// Furnish writes the manifest: bottle dev and agent claude. host is how a bundle finds this host.
func (l *Lab) Furnish(host string) error {
	listens, port, err := net.SplitHostPort(l.Standin.Address)
	if err != nil {
		return err
	}
	if host != "host.docker.internal" {
		host = listens // no name leads there
	}
	return errors.Join(
		l.Write("standin.pem", l.Standin.CA),
		l.Write("bottles/dev.md", fmt.Sprintf(`---
runtime: %s
secrets:
  ANTHROPIC_API_KEY: {env: ANTHROPIC_API_KEY}
egress:
  routes:
    - host: %s
      auth: {scheme: header, header: x-api-key, secret: ANTHROPIC_API_KEY}
      ca: ../standin.pem
      address: %s:%s
      private: true
---
`, cmp.Or(os.Getenv(Runtime), "auto"), standin.Host, host, port)),
		l.Write("agents/claude.md", "---\nbottle: dev\n---\nYou answer in one line.\n"),
	)
}

// Write writes a file below the home.
func (l *Lab) Write(name, content string) error {
	path := filepath.Join(l.Home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o600)
}

// Close stops the stand-in and removes the volume that holds the program.
func (l *Lab) Close(ctx context.Context) error {
	return errors.Join(l.Standin.Close(ctx), l.removePrograms(ctx), l.Engine.Close())
}

func (l *Lab) removePrograms(ctx context.Context) error {
	mine, err := l.mine()
	if err != nil {
		return err
	}
	volumes, err := l.Engine.VolumeList(ctx, client.VolumeListOptions{Filters: mine.Add("label", "bot-bottle.role=binary")})
	if err != nil {
		return err
	}
	for _, v := range volumes.Items {
		_, removeErr := l.Engine.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{})
		err = errors.Join(err, removeErr)
	}
	return err
}

// mine selects what belongs to this home; before its first start, nothing does.
func (l *Lab) mine() (client.Filters, error) {
	owner, err := os.ReadFile(filepath.Join(l.Home, "state", "owner"))
	if errors.Is(err, os.ErrNotExist) {
		owner, err = []byte("nobody"), nil
	}
	return client.Filters{}.Add("label", "bot-bottle.owner="+string(owner)), err
}

// Env is the environment for the program.
func (l *Lab) Env() []string {
	own := append([]string{"BOT_BOTTLE_HOME=" + l.Home, "ANTHROPIC_API_KEY=" + l.Key}, l.Extra...)
	named := func(name string) bool {
		return slices.ContainsFunc(own, func(v string) bool { return strings.HasPrefix(v, name+"=") })
	}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { name, _, _ := strings.Cut(v, "="); return named(name) })
	return append(env, own...) // a name stands once: programs differ in which of two they take
}

// Command prepares a run of the program.
func (l *Lab) Command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, l.Binary, args...)
	c.Env = l.Env()
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.WaitDelay = time.Minute
	return c
}

// Result is what a run left behind.
type Result struct {
	Code           int
	Stdout, Stderr string
}

// Run runs the program to its end.
func (l *Lab) Run(ctx context.Context, stdin io.Reader, args ...string) (Result, error) {
	var stdout, stderr bytes.Buffer
	c := l.Command(ctx, args...)
	c.Stdin, c.Stdout, c.Stderr = stdin, &stdout, &stderr
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return Result{}, err
	}
	return Result{c.ProcessState.ExitCode(), stdout.String(), stderr.String()}, nil
}

// Left lists the containers and volumes of the engine that are this home's own, but
// for the volume that holds the program.
func (l *Lab) Left(ctx context.Context) ([]string, error) {
	mine, err := l.mine()
	if err != nil {
		return nil, err
	}
	containers, err := l.Engine.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: mine})
	if err != nil {
		return nil, err
	}
	volumes, err := l.Engine.VolumeList(ctx, client.VolumeListOptions{Filters: mine})
	if err != nil {
		return nil, err
	}
	var left []string
	for _, c := range containers.Items {
		left = append(left, "container "+strings.Join(c.Names, " ")+" "+string(c.State))
	}
	for _, v := range volumes.Items {
		if v.Labels["bot-bottle.role"] != "binary" {
			left = append(left, "volume "+v.Name)
		}
	}
	slices.Sort(left)
	return left, nil
}
