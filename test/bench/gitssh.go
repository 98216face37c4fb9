package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/test/lab"
	"github.com/bot-bottle/bot-bottle/test/sshd"
)

// noopFetches is how many fetches with nothing new each side makes, in turns.
const noopFetches = 15

// measureSSH compares fetches with nothing new through a gate, whose upstream is behind a real
// sshd, with the same fetches from that sshd itself.
func measureSSH(ctx context.Context, l *lab.Lab, dir, work string) (_ []figure, err error) {
	dir = filepath.Join(dir, "ssh")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	g := &gateway{upstream: filepath.Join(dir, "upstream.git"), events: &lastEvents{}}
	defer g.close()
	if _, err := runGit(ctx, "/", nil, "clone", "-q", "--bare", "--no-local", "--single-branch", "-b", "main", work, g.upstream); err != nil {
		return nil, err
	}
	server, err := sshd.Start(dir, "127.0.0.1")
	if err != nil {
		return nil, err
	}
	g.closers = append(g.closers, server.Close)
	key, err := os.ReadFile(server.KeyFile)
	if err != nil {
		return nil, err
	}
	upstream := server.URL("127.0.0.1", g.upstream)
	if err := g.start(l, dir, control.GitRepository{Name: "widget", Upstream: upstream, Places: []string{"widget"}, Key: string(key), KnownHosts: server.KnownHosts("127.0.0.1")}); err != nil {
		return nil, err
	}
	client, err := sshClient(dir, server)
	if err != nil {
		return nil, err
	}
	fetch := func(url string) (time.Duration, error) {
		return timed(func() error {
			_, err := runGit(ctx, work, nil, "-c", "core.sshCommand=ssh -F "+client, "fetch", "-q", url, "main")
			return err
		})
	}
	if _, err := fetch(g.gate); err != nil { // until the mirror is there
		return nil, err
	}
	var directs, added []float64
	for range noopFetches {
		direct, err := fetch(upstream)
		if err != nil {
			return nil, err
		}
		through, err := fetch(g.gate)
		if err != nil {
			return nil, err
		}
		directs, added = append(directs, float64(direct.Microseconds())/1000), append(added, float64((through-direct).Microseconds())/1000)
	}
	return []figure{atMost("git.noop_fetch_ssh_added_ms", middle(added), "ms", 30), report("git.noop_fetch_ssh_direct_ms", middle(directs), "ms")}, nil
}

// sshClient writes what the other side's ssh reads, and returns its path.
func sshClient(dir string, server *sshd.Server) (string, error) {
	known, config := filepath.Join(dir, "client_known_hosts"), filepath.Join(dir, "client_config")
	lines := []string{"Host *", "BatchMode yes", "StrictHostKeyChecking yes", "IdentitiesOnly yes", "IdentityAgent none", "IdentityFile " + server.KeyFile, "UserKnownHostsFile " + known, "GlobalKnownHostsFile /dev/null"}
	return config, errors.Join(
		os.WriteFile(known, []byte(server.KnownHosts("127.0.0.1")), 0o600),
		os.WriteFile(config, []byte(strings.Join(lines, "\n\t")+"\n"), 0o600))
}
