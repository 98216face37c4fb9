package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/internal/provision"
)

func (a *App) pull() *cobra.Command {
	var asJSON bool
	var path string
	c := &cobra.Command{
		Use:   "pull IDENTITY",
		Short: "Fetch an agent's branches into the repository at hand",
		Long: `Pull fetches the branches of a bottle's workspace into the repository at hand, as
refs/bottles/IDENTITY/BRANCH, and prints the new commits and what they change. No branch, file
or index of yours is touched, every object is checked, and nothing of the bottle's runs here:
look at it with git log and git diff before you merge it. The bottle may run or not.`,
		Example: `  bot-bottle pull implementer-k7x2m4
  bot-bottle pull implementer-k7x2m4 --path widget     # a repository below the workspace
  git log -p main..refs/bottles/implementer-k7x2m4/fix && git merge refs/bottles/implementer-k7x2m4/fix`,
		Args:              asUsed,
		ValidArgsFunction: a.completeRecorded,
		RunE:              func(c *cobra.Command, args []string) error { return a.runPull(c.Context(), args[0], path, asJSON) },
	}
	c.Flags().StringVar(&path, "path", ".", "where the repository is, below the workspace")
	c.Flags().BoolVar(&asJSON, "json", false, "print a JSON array of the refs that are new or other")
	return c
}

func (a *App) runPull(ctx context.Context, identity, path string, asJSON bool) error {
	record, err := a.recordOf(identity)
	if err != nil {
		return err
	}
	backend, err := a.backend(record.Backend)
	if err != nil {
		return err
	}
	if err := backend.Available(ctx); err != nil {
		return err // it knows what to do; git would only tell of it
	}
	self, err := a.Executable()
	if err != nil {
		return err
	}
	say := nowAndThen((&operator{app: a}).Progress, time.Now)
	pulled, err := provision.Pull(ctx, a.cwd, identity, []string{self, "upload-pack", identity, belowWorkspace(path)}, a.transportEnv(), say)
	if err != nil {
		return fmt.Errorf("cannot pull from %s: %w", identity, err)
	}
	if asJSON {
		return printJSON(a.Stdout, append([]provision.Pulled{}, pulled...), true)
	}
	if len(pulled) == 0 {
		_, err := fmt.Fprintf(a.Stderr, "bot-bottle: %s has nothing new\n", identity)
		return err
	}
	for _, p := range pulled {
		if err := printPulled(a.Stdout, a.width(), p); err != nil {
			return err
		}
	}
	return nil
}

// howOften is how long a pull is silent before it tells how far it is, and in between.
const howOften = 3 * time.Second

// nowAndThen lets through what comes that long after what it let through before.
func nowAndThen(say func(string), now func() time.Time) func(string) {
	last := now()
	return func(text string) {
		if at := now(); at.Sub(last) >= howOften {
			last = at
			say(text)
		}
	}
}

// printPulled shows a branch. All that commits and files are called is the agent's.
func printPulled(w io.Writer, width int, p provision.Pulled) error {
	what := "new"
	if p.Old != "" {
		what = fmt.Sprintf("%.10s..%.10s", p.Old, p.New)
	}
	_, err := fmt.Fprintln(w, folded(fmt.Sprintf("%s  (%s)", cell(p.Ref), what), width, 0))
	for i, c := range p.Commits {
		if i == 20 {
			_, _ = fmt.Fprintln(w, "  …")
			break
		}
		_, err = fmt.Fprintf(w, "  %.10s %s\n", c.ID, folded(cell(c.Subject)+"  ("+cell(c.Author)+")", width, len("  0123456789 ")))
	}
	for _, line := range p.Stat {
		_, err = fmt.Fprintf(w, "    %s\n", folded(line, width, len("    ")))
	}
	return err
}

// transportEnv is what our own process needs when git starts it.
func (a *App) transportEnv() []string {
	var env []string
	for _, name := range []string{
		"HOME", "BOT_BOTTLE_HOME", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "DOCKER_API_VERSION", "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR", "TMPDIR",
	} {
		if v, ok := a.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	for _, name := range []string{"XDG_DATA_HOME", "XDG_CACHE_HOME", "SMOLVM_DATA_DIR", "SMOLVM_AGENT_ROOTFS", "BOT_BOTTLE_SMOLVM_LANDLOCK"} {
		if v, ok := a.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return append(env, hostPath+"="+a.Getenv("PATH")) // git's own stays as it is
}

// hostPath tells our process behind git where the operator's programs are.
const hostPath = "BOT_BOTTLE_HOST_PATH"

// programVariables are what a backend that runs a program of the operator's reads.
func (a *App) programVariables(name string) string {
	if name == "PATH" {
		return cmp.Or(a.Getenv(hostPath), a.Getenv("PATH"))
	}
	return a.Getenv(name)
}

// belowWorkspace is a directory of the bottle's by its path below the workspace, whichever way it is
// named.
func belowWorkspace(dir string) string {
	rest, ok := strings.CutPrefix(dir, provider.Workspace)
	if ok && (rest == "" || rest[0] == '/') {
		return "." + rest
	}
	if dir == "" || dir[0] == '-' { // no path, and no option
		return "./" + dir
	}
	return dir
}

// uploadPack is the other end of pull's fetch: git starts it.
func (a *App) uploadPack() *cobra.Command {
	return &cobra.Command{
		Use: "upload-pack IDENTITY PATH", Hidden: true, Args: asUsed,
		RunE: func(c *cobra.Command, args []string) error {
			record, err := a.recordOf(args[0])
			if err != nil {
				return err
			}
			backend, err := a.backend(record.Backend)
			if err != nil {
				return err
			}
			said := &lastWords{}
			code, err := backend.UploadPack(c.Context(), args[0], args[1], bottle.IO{Stdin: a.Stdin, Stdout: &atMost{a.Stdout, maxPulled}, Stderr: said})
			if errors.Is(err, bottle.ErrGone) {
				return errors.New("its workspace is gone")
			}
			if err == nil && code != 0 {
				text := said.text()
				if strings.Contains(text, "does not appear to be a git repository") {
					text = fmt.Sprintf("there is no repository at %s in the bottle: say where it is with --path", path.Join(provider.Workspace, args[1]))
				}
				_, err = fmt.Fprintln(a.Stderr, text)
				return errors.Join(err, status(code))
			}
			return err
		},
	}
}

// maxPulled bounds what a bottle may send, in bytes.
const maxPulled = 4 << 30

// atMost fails when more is written.
type atMost struct {
	io.Writer
	left int64
}

func (w *atMost) Write(p []byte) (int, error) {
	if w.left -= int64(len(p)); w.left < 0 {
		return 0, fmt.Errorf("the bottle sends more than %d GiB: %w", maxPulled>>30, os.ErrClosed)
	}
	return w.Writer.Write(p)
}

// lastWords keeps the beginning of what git says.
type lastWords struct{ said []byte }

func (l *lastWords) Write(p []byte) (int, error) {
	l.said = append(l.said, p[:min(len(p), 4096-len(l.said))]...)
	return len(p), nil
}

// text is what it says first, on one line: what follows is advice about servers.
func (l *lastWords) text() string {
	first, _, _ := strings.Cut(strings.TrimSpace(string(l.said)), "\n")
	return printable(strings.TrimRight(first, "\r"))
}
