package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/filecopy"
	"github.com/bot-bottle/bot-bottle/internal/plain"
	"github.com/bot-bottle/bot-bottle/internal/provider"
)

type copyFlags struct {
	repositories bool
	limit        int64 // GiB
}

// mostFiles bounds how many files a bottle may send.
const mostFiles = 1 << 20

func (a *App) cp() *cobra.Command {
	var f copyFlags
	c := &cobra.Command{
		Use:   "cp SRC DST",
		Short: "Copy files into a bottle, or out of it",
		Long: `Cp copies a file or a tree from this host into a bottle, or out of one; one of SRC and DST is
IDENTITY:PATH, and a path that does not begin with / is below /workspace. If DST is a directory,
the copy goes into it. The bottle may run or not; of one that does not, there are its home and
its workspace. - is standard input, or standard output, for one file.

What a bottle sends is not trusted. Links are never followed on this host; one that leads out
of what is copied is left out, as are devices, and what git would take for a repository: what an
agent wrote into its configuration would run here (bot-bottle pull fetches commits). Files lose
bits that give rights. What is left out is said.`,
		Example: `  bot-bottle cp implementer-k7x2m4:report.pdf .
  bot-bottle cp ./fixtures implementer-k7x2m4:/workspace/widget/
  bot-bottle cp implementer-k7x2m4:/home/node/notes.md - | less`,
		Args:              asUsed,
		ValidArgsFunction: a.completeCopy,
		RunE:              func(c *cobra.Command, args []string) error { return a.runCopy(c.Context(), args[0], args[1], f) },
	}
	c.Flags().BoolVar(&f.repositories, "repositories", false, "bring also what git takes for a repository (dangerous: see above)")
	c.Flags().Int64Var(&f.limit, "limit", 16, "how much a bottle may send, in GiB")
	return c
}

// place is one end of a copy.
type place struct{ identity, path string } // identity "" is this host

// placeOf reads IDENTITY:PATH, or a path of this host: ./a:b where that could be mistaken.
func placeOf(arg string) place {
	identity, inside, ok := strings.Cut(arg, ":")
	if !ok || !bottle.ValidIdentity(identity) {
		return place{path: arg}
	}
	if !path.IsAbs(inside) {
		inside = path.Join(provider.Workspace, inside) + map[bool]string{true: "/"}[strings.HasSuffix(inside, "/")]
	}
	return place{identity, inside}
}

func (a *App) runCopy(ctx context.Context, src, dst string, f copyFlags) (err error) {
	from, to := placeOf(src), placeOf(dst)
	if (from.identity == "") == (to.identity == "") {
		return &usageError{what: "one of SRC and DST must be in a bottle", hint: "write it as IDENTITY:PATH; bot-bottle list all shows the bottles"}
	}
	if from.path == "" || to.path == "" || f.limit <= 0 {
		return &usageError{what: "SRC and DST must name something, and --limit be more than 0", hint: "bot-bottle cp --help"}
	}
	identity := from.identity + to.identity
	files, err := a.files(ctx, identity)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.Close()) }()
	c := &copying{app: a, files: files, flags: f}
	defer c.clear()
	if from.identity != "" {
		err = c.out(ctx, from.path, to.path)
	} else {
		err = c.in(ctx, from.path, to.path)
	}
	if usage := (*usageError)(nil); err == nil || errors.As(err, &usage) || ctx.Err() != nil {
		return err
	}
	if at := (*fs.PathError)(nil); errors.As(err, &at) && at.Path == from.path { // which is named already
		err = at.Err
	}
	return fmt.Errorf("cannot copy %s to %s: %w", src, dst, err)
}

// files opens those of a bottle.
func (a *App) files(ctx context.Context, identity string) (bottle.Files, error) {
	record, err := a.recordOf(identity)
	if err != nil {
		return nil, err
	}
	backend, err := a.backend(record.Backend)
	if err != nil {
		return nil, err
	}
	if err := backend.Available(ctx); err != nil {
		return nil, err
	}
	files, err := backend.Files(ctx, identity)
	if errors.Is(err, bottle.ErrGone) {
		if a.elsewhere(ctx, record) {
			return nil, &usageError{what: fmt.Sprintf("cannot copy: %s: %v", identity, bottle.ErrElsewhere), hint: elsewhereHint(record.Backend)}
		}
		return nil, &usageError{what: "cannot copy: " + err.Error(), hint: "bot-bottle list all shows what is left of it"}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot copy: %w", err)
	}
	return files, nil
}

// copying is a copy under way.
type copying struct {
	app   *App
	files bottle.Files
	flags copyFlags
	shown time.Time // when progress was last shown
}

// out copies from the bottle to this host.
func (c *copying) out(ctx context.Context, from, to string) (err error) {
	found, err := c.files.Stat(ctx, path.Clean(from))
	if err != nil {
		return err
	}
	if to == "-" {
		return c.print(ctx, found)
	}
	dir, name, err := landing(to, path.Base(path.Clean(from)))
	if err != nil {
		return err
	}
	archive, err := c.files.Get(ctx, found.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	sum, err := filecopy.Unpack(archive, dir, name, filecopy.Options{
		Repositories: c.flags.repositories, MaxBytes: c.flags.limit << 30, MaxFiles: mostFiles,
		Progress: func(s filecopy.Summary) { c.progress(s.Bytes) },
	})
	c.clear()
	c.app.tellLeft(sum)
	if errors.Is(err, filecopy.ErrTooMuch) {
		return &usageError{what: fmt.Sprintf("cannot copy all of %s: %v", from, err), hint: "what came before that is in " + filepath.Join(dir, name) + "; --limit allows more"}
	}
	return err
}

// tellLeft says what was left out. Names are the agent's.
func (a *App) tellLeft(sum filecopy.Summary) {
	for _, left := range sum.Left {
		_, _ = fmt.Fprintf(a.Stderr, "bot-bottle: left out: %s: %s\n", printable(left.Name), left.Why)
	}
	if more := sum.LeftOut - int64(len(sum.Left)); more > 0 {
		_, _ = fmt.Fprintf(a.Stderr, "bot-bottle: left out: %d more\n", more)
	}
}

// print copies one file to standard output: not to a terminal, which would do what it says.
func (c *copying) print(ctx context.Context, found bottle.FileInfo) (err error) {
	if found.Dir {
		return errors.New("a directory does not go to standard output")
	}
	if isTerminal(c.app.Stdout) {
		return &usageError{what: "a terminal would do what is in the file", hint: "send it through something that makes it plain: … - | less"}
	}
	archive, err := c.files.Get(ctx, found.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	_, err = filecopy.UnpackFile(archive, c.app.Stdout)
	return err
}

// landing is the directory of this host that a copy goes to, and what it is called there.
func landing(to, base string) (dir, name string, err error) {
	info, err := os.Stat(to)
	switch {
	case err == nil && info.IsDir():
		dir, name = to, base
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", "", err
	case strings.HasSuffix(to, "/"):
		return "", "", fmt.Errorf("%s is not a directory", to)
	default:
		dir, name = filepath.Dir(to), filepath.Base(to)
	}
	if name == "." || name == ".." || name == "/" {
		return "", "", errors.New("DST must say what the copy is called")
	}
	return dir, name, nil
}

// in copies from this host into the bottle.
func (c *copying) in(ctx context.Context, from, to string) error {
	pack, base, isDir, err := c.source(from)
	if err != nil {
		return err
	}
	dir, name, err := c.target(ctx, to, base, isDir)
	if err != nil {
		return err
	}
	reader, writer := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := pack(&measured{writer, c, 0}, name)
		_ = writer.CloseWithError(err)
		done <- err
	}()
	err = c.files.Put(ctx, dir, reader)
	_ = reader.Close()
	if wrote := <-done; wrote != nil && !errors.Is(wrote, io.ErrClosedPipe) {
		return wrote
	}
	return err
}

// source is what goes into a bottle: how it is packed under a name, and its own name.
func (c *copying) source(from string) (pack func(io.Writer, string) error, base string, isDir bool, err error) {
	if from == "-" {
		return c.fromStdin, "", false, nil
	}
	info, err := os.Lstat(from)
	if err != nil {
		return nil, "", false, err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return nil, "", false, &usageError{what: from + " is a link", hint: "name what it leads to"}
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return nil, "", false, fmt.Errorf("%s is neither a file nor a directory", from)
	}
	absolute, err := filepath.Abs(from)
	leave := func(file string) {
		_, _ = fmt.Fprintf(c.app.Stderr, "bot-bottle: left out: %s: neither a file nor a directory\n", printable(file))
	}
	return func(w io.Writer, name string) error { return filecopy.Pack(w, absolute, name, provider.UID, leave) }, filepath.Base(absolute), info.IsDir(), err
}

// fromStdin packs standard input, which is kept in a file without a name until its size is known.
func (c *copying) fromStdin(w io.Writer, name string) error {
	kept, err := os.CreateTemp("", "bot-bottle-*")
	if err != nil {
		return err
	}
	defer func() { _ = kept.Close() }()
	if err := os.Remove(kept.Name()); err != nil {
		return err
	}
	size, err := io.Copy(kept, c.app.Stdin)
	if err != nil {
		return err
	}
	if _, err := kept.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return filecopy.PackFile(w, name, provider.UID, kept, size)
}

// target is the directory in the bottle that a copy goes to, and what it is called there.
func (c *copying) target(ctx context.Context, to, base string, isDir bool) (dir, name string, err error) {
	clean := path.Clean(to)
	found, err := c.files.Stat(ctx, clean)
	switch {
	case err == nil && found.Dir && base == "":
		return "", "", fmt.Errorf("%s is a directory: say what the file is called", clean)
	case err == nil && found.Dir:
		return found.Path, base, nil
	case err == nil && isDir:
		return "", "", fmt.Errorf("%s is there and no directory", clean)
	case err == nil:
		return path.Dir(found.Path), path.Base(found.Path), nil
	case !errors.Is(err, bottle.ErrNoFile) || strings.HasSuffix(to, "/"):
		return "", "", err
	}
	parent, err := c.files.Stat(ctx, path.Dir(clean))
	if err == nil && !parent.Dir {
		err = fmt.Errorf("%s is not a directory", path.Dir(clean))
	}
	return parent.Path, path.Base(clean), err
}

// measured tells of what goes through.
type measured struct {
	io.Writer
	c    *copying
	sent int64
}

func (m *measured) Write(p []byte) (int, error) {
	n, err := m.Writer.Write(p)
	m.sent += int64(n)
	m.c.progress(m.sent)
	return n, err
}

// progress shows on a terminal how much has been copied, a few times a second.
func (c *copying) progress(bytes int64) {
	if now := time.Now(); isTerminal(c.app.Stderr) && now.Sub(c.shown) > 200*time.Millisecond {
		c.shown = now
		_, _ = fmt.Fprintf(c.app.Stderr, "\r%8s ", plain.Amount(bytes))
	}
}

// clear takes the progress off the terminal.
func (c *copying) clear() {
	if !c.shown.IsZero() {
		_, _ = fmt.Fprint(c.app.Stderr, "\r\x1b[K")
		c.shown = time.Time{}
	}
}

// completeCopy offers bottles, and the shell files of this host.
func (a *App) completeCopy(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	names, err := a.store().Identities()
	if err != nil || len(args) > 1 || len(args) == 1 && placeOf(args[0]).identity != "" {
		return nil, cobra.ShellCompDirectiveDefault
	}
	for i := range names {
		names[i] += ":"
	}
	return names, cobra.ShellCompDirectiveNoSpace
}
