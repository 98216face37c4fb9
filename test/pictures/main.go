// Command pictures makes the documentation's pictures from real runs: Claude Code in bottles
// that work, ask and push, the dashboard in tmux beside them, the report of one, and prove.
// Usage: pictures PROGRAM DIRECTORY.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/prove/githttp"
	"github.com/bot-bottle/bot-bottle/test/lab"
	"github.com/bot-bottle/bot-bottle/test/standin"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: pictures PROGRAM DIRECTORY")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := draw(ctx, os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "pictures:", err)
		stop()
		os.Exit(1)
	}
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "pictures: "+format+"\n", args...) }

// studio is where pictures are taken.
type studio struct {
	*lab.Lab
	out   string // directory of the pictures
	git   *githttp.Server
	agent map[string]string // identities
}

func draw(ctx context.Context, program, out string) (err error) {
	dir, err := os.MkdirTemp("", "bot-bottle-pictures-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if program, err = filepath.Abs(program); err != nil {
		return err
	}
	l, err := lab.New(ctx, filepath.Join(dir, "home"), program, standin.Options{Answer: "The retry test waited for a timer of a tenth of a second. It waits for the event now; I have pushed it to agent/retry."})
	if err != nil {
		return err
	}
	s := &studio{Lab: l, out: out, agent: map[string]string{}}
	defer func() { err = errors.Join(err, s.strike(context.WithoutCancel(ctx))) }()
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"a repository and a manifest", s.furnish}, {"three agents", s.start}, {"their work", s.work}, {"the dashboard", s.dashboard}, {"the report", s.report}, {"prove", s.prove},
	} {
		say("%s", step.what)
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

// agents are what is started, and with what they are asked.
func agents() map[string]string {
	return map[string]string{"implementer": "Make the retry test reliable.", "reviewer": "Review the branch agent/retry.", "writer": "Write the release notes of 2.4."}
}

const model = "---\nYou are the %s of a small team. Keep to the task, and ask your operator for what you need.\n"

func (s *studio) furnish(ctx context.Context) error {
	root := filepath.Join(filepath.Dir(s.Home), "repositories")
	if err := repository(ctx, root); err != nil {
		return err
	}
	gateway, err := lab.Gateway(ctx, s.Engine)
	if err != nil {
		return err
	}
	if s.git, err = githttp.Start(githttp.Options{Listen: gateway + ":0", Root: root, User: "git", Password: "stand-in"}); err != nil {
		return err
	}
	_, port, _ := strings.Cut(s.Standin.Address, ":")
	route := func(host, rest string) string {
		return fmt.Sprintf("    - {host: %s, ca: ../standin.pem, address: \"host.docker.internal:%s\", private: true%s}\n", host, port, rest)
	}
	bottle := "---\nextends: dev\nsupervise: true\nsecrets: {GIT_TOKEN: {env: GIT_TOKEN}}\negress:\n  routes:\n" +
		route("docs.acme.example", ", methods: [GET]") + route("packages.acme.example", ", methods: [GET], paths: [\"/simple/**\"]") +
		fmt.Sprintf("git:\n  - {name: widget, upstream: %q, auth: {user: git, secret: GIT_TOKEN}, ca: ../git.pem, push: {refs: [\"refs/heads/agent/**\"], mode: hold}}\n---\n", s.git.URL("host.docker.internal", "widget.git"))
	s.Extra = append(s.Extra, "GIT_TOKEN=stand-in", "TZ=UTC", "LANG=C.UTF-8", "COLORTERM=truecolor")
	err = errors.Join(s.Write("bottles/team.md", bottle), s.Write("git.pem", s.git.CA))
	for name := range agents() {
		identity := fmt.Sprintf("git_identity: {name: %s, email: %s@acme.example}\n", strings.ToUpper(name[:1])+name[1:], name)
		err = errors.Join(err, s.Write("agents/"+name+".md", "---\nbottle: team\n"+identity+fmt.Sprintf(model, name)))
	}
	return err
}

func (s *studio) start(ctx context.Context) error {
	for name, task := range agents() {
		identity, err := s.does(ctx, "start", "-y", "--detach", name, "--", task)
		if err != nil {
			return err
		}
		s.agent[name] = strings.TrimSpace(identity)
	}
	return nil
}

// does runs a verb that must do what it says, and returns what it prints.
func (s *studio) does(ctx context.Context, args ...string) (string, error) {
	r, err := s.Run(ctx, nil, args...)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("status %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
	if err != nil {
		return "", fmt.Errorf("bot-bottle %s: %w", args[0], err)
	}
	return r.Stdout, nil
}

// strike takes everything away.
func (s *studio) strike(ctx context.Context) (err error) {
	for _, identity := range s.agent {
		_, failed := s.Run(ctx, nil, "rm", "-y", "--force", identity)
		err = errors.Join(err, failed)
	}
	if s.git != nil {
		s.git.Close()
	}
	left, failed := s.Left(ctx)
	if err = errors.Join(err, failed); len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("left on the engine: %s", strings.Join(left, ", ")))
	}
	return errors.Join(err, s.Close(ctx))
}

// mostBytes of a picture: who reads the documentation loads them.
const mostBytes = 300 << 10

func (s *studio) keep(name string, data []byte) error {
	if len(data) > mostBytes {
		return fmt.Errorf("%s has %d bytes, and may have %d", name, len(data), mostBytes)
	}
	if err := os.MkdirAll(s.out, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.out, name), data, 0o644)
}
