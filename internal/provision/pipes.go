package provision

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/hostcmd"
)

// gitPatience bounds how long git may take to read the repository at hand.
const gitPatience = 2 * time.Minute

// readable refuses a repository with a file that git would open and wait for without end: a
// pipe or a device, or a link to one (ATTACKS E3). Git opens what it finds by these names
// before it can be asked anything. What is not there, or not readable, is git's to tell.
func readable(ctx context.Context, dir string) error {
	for _, d := range gitDirs(dir) {
		for _, name := range []string{
			"HEAD", "config", "config.worktree", "commondir", "gitdir", "index", "packed-refs", "shallow", "info/sparse-checkout", "info/grafts", "info/attributes", "info/exclude", "objects/info/alternates",
		} {
			if err := plainFile(filepath.Join(d, name)); err != nil {
				return err
			}
		}
		if err := includes(ctx, filepath.Join(d, "config"), 0); err != nil {
			return err
		}
	}
	return nil
}

// plainFile goes by what a link leads to.
func plainFile(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return fmt.Errorf("%s is no file but a pipe, a socket or a device", path)
	}
	return nil
}

// gitDirs are those that git may find from a directory: .git in it or in one above, where that
// says that it is, and where the repository's own files are; or the directory itself.
func gitDirs(dir string) []string {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil
	}
	for {
		dotgit := filepath.Join(dir, ".git")
		if _, err := os.Lstat(dotgit); err == nil {
			return withCommon(pointed(dotgit))
		}
		if exists(filepath.Join(dir, "HEAD")) && exists(filepath.Join(dir, "objects")) {
			return withCommon(dir)
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		return nil
	}
}

// pointed follows a .git that is a file (gitrepository-layout(5)).
func pointed(dotgit string) string {
	if info, err := os.Stat(dotgit); err != nil || !info.Mode().IsRegular() {
		return dotgit
	}
	data, err := os.ReadFile(dotgit)
	to, ok := strings.CutPrefix(strings.TrimSpace(string(data)), "gitdir: ")
	if err != nil || !ok {
		return dotgit
	}
	return from(filepath.Dir(dotgit), to)
}

func withCommon(dir string) []string {
	if file := filepath.Join(dir, "commondir"); plainFile(file) == nil {
		if data, err := os.ReadFile(file); err == nil {
			return []string{dir, from(dir, strings.TrimSpace(string(data)))}
		}
	}
	return []string{dir}
}

// from is a path that may be relative.
func from(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// maxIncludes is git's own bound for files that include each other.
const maxIncludes = 10

// includes looks at what a configuration includes, whatever the condition.
func includes(ctx context.Context, file string, depth int) error {
	if !exists(file) || depth > maxIncludes {
		return nil
	}
	argv := slices.Concat([]string{"git"}, harmless(), []string{"config", "--file", file, "--no-includes", "-z", "--get-regexp", `^include(if\..*)?\.path$`})
	out, err := hostcmd.Command{Env: append(gitEnv(), "GIT_DIR=/nonexistent"), Argv: argv, Dir: "/"}.Output(ctx)
	if err != nil { // it has none, or git will say what is wrong with it
		return ctx.Err()
	}
	for entry := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		_, path, _ := strings.Cut(entry, "\n")
		if strings.HasPrefix(path, "~") || path == "" { // there is no home here
			continue
		}
		path = from(filepath.Dir(file), path)
		if err := plainFile(path); err != nil {
			return err
		}
		if err := includes(ctx, path, depth+1); err != nil {
			return err
		}
	}
	return nil
}
