// Command board runs the dashboard on bottles that another process plays: DIR has two sockets
// for each, NAME.control, its control API, and NAME.log, which its audit log comes out of.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/dashboard"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

func main() {
	p := played{dir: os.Args[1]}
	err := dashboard.Run(context.Background(), dashboard.Options{
		Bottles: p, Desks: p, Logs: p, Screens: p, Terminal: p, By: "bench", Open: dashboard.OpenPane,
		Now: time.Now, Getenv: os.Getenv, Stdin: os.Stdin, Stdout: os.Stdout, Env: os.Environ(),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "board:", err)
		os.Exit(1)
	}
}

// played are the bottles. What the benchmark does not do is not there.
type played struct {
	dashboard.Desks
	dir string
}

func (p played) Bottles(context.Context) ([]dashboard.Found, error) {
	files, err := filepath.Glob(filepath.Join(p.dir, "*.control"))
	var all []dashboard.Found
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".control")
		all = append(all, dashboard.Found{Running: true, ActiveAgent: bottle.ActiveAgent{
			Backend: "played", Slug: name, AgentName: "agent", StartedAt: time.Now().UTC().Format(time.RFC3339), Status: "running",
			Services: []control.Service{control.Egress, control.Supervise},
		}})
	}
	return all, err
}

func (p played) Stop(context.Context, string) error { return errors.ErrUnsupported }
func (p played) Agents() ([]string, error)          { return nil, nil }

func (p played) dial(ctx context.Context, name string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(p.dir, name))
}

func (p played) Watch(ctx context.Context, identity string, tell func(control.Requests)) error {
	client, end := control.Client{Dial: func(ctx context.Context) (net.Conn, error) { return p.dial(ctx, identity+".control") }}.Session()
	defer end()
	for after := -1; ; {
		now, err := client.Requests(ctx, after)
		if err != nil {
			return err
		}
		after = now.Revision
		tell(now)
	}
}

func (p played) Decide(context.Context, string, string, requests.Decision) (requests.Shown, error) {
	return requests.Shown{}, errors.ErrUnsupported
}

func (p played) Follow(ctx context.Context, identity string, tell func(audit.Event)) error {
	conn, err := p.dial(ctx, identity+".log")
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	for log := audit.NewReader(conn, identity); ; {
		e, line, err := log.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if line == nil {
			return err
		}
		tell(e)
	}
}

func (p played) Look(context.Context, string) (dashboard.Look, error) { return look{}, nil }

type look struct{}

func (look) Close() error { return nil }

func (look) Screen(context.Context) (dashboard.Screen, error) {
	lines := make([]string, 40)
	for i := range lines {
		lines[i] = fmt.Sprintf("line %d of what an agent's terminal shows at %s", i, time.Now().Format(time.TimeOnly))
	}
	return dashboard.Screen{State: dashboard.Working, Since: time.Now(), Lines: lines}, nil
}

func (p played) Self(args ...string) *exec.Cmd { return exec.Command("true", args...) }
func (p played) Foreground(*exec.Cmd) error    { return errors.ErrUnsupported }
func (p played) Passed() []string              { return nil }
