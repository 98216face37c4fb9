package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/guest"
	client "github.com/bot-bottle/bot-bottle/internal/pipelock"
	"github.com/bot-bottle/bot-bottle/internal/prove/inside"
	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/internal/provision"
	"github.com/bot-bottle/bot-bottle/internal/sidecar/bundle"
	"github.com/bot-bottle/bot-bottle/internal/sidecar/egress"
	"github.com/bot-bottle/bot-bottle/internal/sidecar/gitgate"
	"github.com/bot-bottle/bot-bottle/internal/sidecar/pipelock"
)

// inner runs the roles that only bot-bottle itself starts: inside a bottle and in its
// bundle. They have no help and take no flags.
func (s System) inner(ctx context.Context) int {
	log := slog.New(slog.NewJSONHandler(s.Stderr, nil))
	code, err := s.role(ctx, log)
	if err != nil {
		_, _ = fmt.Fprintln(s.Stderr, "bot-bottle: "+err.Error())
		if code == 0 {
			code = exitBottle
		}
	}
	return code
}

func (s System) role(ctx context.Context, log *slog.Logger) (int, error) {
	switch {
	case len(s.Args) > 3 && slices.Equal(s.Args[:3], []string{"guest", "run", "--"}):
		return s.guest(ctx, s.Args[3:], nil)
	case len(s.Args) > 5 && slices.Equal(s.Args[:2], []string{"guest", "terminal"}) && s.Args[4] == "--":
		on, err := s.guestTerminal(s.Args[2], s.Args[3])
		if err != nil {
			return exitUsage, err
		}
		return s.guest(ctx, s.Args[5:], on)
	case slices.Equal(s.Args, []string{"guest", "machine"}):
		return 0, guest.RunMachine(ctx, guest.Options{SocketDir: control.SocketDir, Log: slog.New(slog.DiscardHandler)}, control.SessionSocket)
	case slices.Equal(s.Args, []string{"guest", "bring"}):
		return 0, guest.Bring(ctx, control.SessionSocket, control.SocketDir, s.Stdin, s.Stdout)
	case len(s.Args) == 3 && s.Args[0] == "guest" && s.Args[1] == "talk":
		return 0, guest.Talk(ctx, control.SessionSocket, s.Args[2], s.Stdin, s.Stdout)
	case slices.Equal(s.Args, []string{"guest", "transcript"}):
		return 0, guest.Transcript(s.Stdout)
	case len(s.Args) > 4 && s.Args[0] == "guest" && s.Args[1] == "within" && s.Args[3] == "--":
		return guest.Within(s.Args[2], s.Args[4:])
	case slices.Equal(s.Args, []string{"guest", "attach"}):
		return 0, guest.Attach(ctx, control.SessionSocket, s.Stdin, s.Stdout)
	case len(s.Args) > 3 && slices.Equal(s.Args[:3], []string{"guest", "exec", "--"}):
		return guest.Exec(s.Args[3:])
	case len(s.Args) > 3 && slices.Equal(s.Args[:3], []string{"guest", "checkout", "--"}):
		return guest.Checkout(provider.Workspace, provision.CheckoutFile, s.Args[3:], s.Stderr)
	case len(s.Args) >= 2 && s.Args[0] == "guest" && s.Args[1] == "no-ssh":
		return exitFailure, guest.NoSSH(s.Args[2:])
	case slices.Equal(s.Args, []string{"guest", "prove"}):
		return 0, inside.Run(ctx, s.Stdin, s.Stdout)
	case slices.Equal(s.Args, []string{"guest", "prove", "speak"}):
		return 0, inside.Speak(s.Stdin, s.Stdout)
	case slices.Equal(s.Args, []string{"sidecar", "bundle"}):
		return 0, bundle.Run(ctx, bundle.Options{
			Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr, SocketDir: control.SocketDir, ControlSocket: control.Socket, Self: "/proc/self/exe", LogDir: control.SocketDir,
			UIDs: map[control.Service]int{control.Egress: control.EgressUID, control.GitGate: control.GitGateUID, control.Supervise: 10003}, DropPrivileges: true,
		})
	case slices.Equal(s.Args, []string{"sidecar", "control"}):
		return 0, bundle.Connect(ctx, control.Socket, s.Stdin, s.Stdout)
	case slices.Equal(s.Args, []string{"sidecar", "pipelock"}):
		return 0, pipelock.Run(ctx, pipelock.Options{
			Dir: control.PipelockDir, Program: "/pipelock", ConfigFile: control.PipelockConfigDir + "/pipelock.yaml", Settings: client.InContainer(), Grace: pipelockGrace,
		})
	case len(s.Args) == 5 && slices.Equal(s.Args[:2], []string{"sidecar", string(control.Pipelock)}):
		return 0, pipelock.Alone(ctx, pipelock.OnHost{Dir: s.Args[2], Program: s.Args[3], Hash: s.Args[4]}, pipelockGrace)
	case slices.Equal(s.Args, []string{"sidecar", "git-hook"}):
		return gitgate.Hook(s.Stdin, s.Stderr, os.Getenv), nil
	case len(s.Args) == 6 && s.Args[0] == "sidecar" && s.Args[1] == "host":
		return 0, bundle.RunOnHost(ctx, bundle.OnHost{Dir: s.Args[2], Audit: s.Args[3], GitDir: s.Args[4], GitKeys: s.Args[5]}, s.Stdin, s.Stdout)
	case len(s.Args) >= 2 && s.Args[0] == "sidecar":
		host, err := bundle.HostOf(s.Args[2:])
		if err != nil {
			return exitUsage, err
		}
		err = bundle.ServeChild(ctx, control.Service(s.Args[1]), host, s.Stdin, s.Stdout, s.Stderr)
		if errors.Is(err, egress.ErrGuestGone) {
			return control.ExitGuestGone, err
		}
		return 0, err
	}
	return exitUsage, errors.New("this verb is for bot-bottle itself: see bot-bottle --help")
}

// pipelockGrace is how long egress may take to come, or to come back after a crash.
const pipelockGrace = 2 * time.Minute

// guest is PID 1 of a bottle. It takes its signals itself. Without a terminal its standard
// streams are the agent's.
func (s System) guest(ctx context.Context, argv []string, on *guest.Terminal) (int, error) {
	return guest.Run(context.WithoutCancel(ctx), guest.Options{
		Argv: argv, Dir: provider.Workspace, SocketDir: control.SocketDir, Log: slog.New(slog.DiscardHandler), Terminal: on,
	})
}

// guestTerminal reads what the agent's terminal begins as. The transcript goes to standard
// output, which the engine keeps.
func (s System) guestTerminal(size, operator string) (*guest.Terminal, error) {
	on := &guest.Terminal{Socket: control.SessionSocket, Record: s.Stdout, Awaited: operator == control.Awaited}
	_, err := fmt.Sscanf(size, "%dx%d", &on.Size.Width, &on.Size.Height)
	return on, err
}
