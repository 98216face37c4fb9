package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// gitEnv is the environment of a client.
func gitEnv() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Bench", "GIT_AUTHOR_EMAIL=bench@acme.example", "GIT_COMMITTER_NAME=Bench", "GIT_COMMITTER_EMAIL=bench@acme.example",
	}
}

// runGit runs a client to its end.
func runGit(ctx context.Context, dir string, stdin io.Reader, args ...string) (string, error) {
	c := exec.CommandContext(ctx, "git", args...)
	c.Dir, c.Env, c.Stdin = dir, gitEnv(), stdin
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// writeHistory makes a repository whose branch main has one commit, and whose branch
// agent/work has commits more: each adds files of the Go distribution's own source and revises
// some that are there, half and half, until all new blobs together have size bytes.
func writeHistory(ctx context.Context, dir string, commits int, size int64) error {
	sources, err := goSources(ctx)
	if err != nil {
		return err
	}
	if _, err := runGit(ctx, "/", nil, "init", "-q", "-b", "main", dir); err != nil {
		return err
	}
	reader, writer := io.Pipe()
	go func() {
		out := bufio.NewWriterSize(writer, 1<<20)
		h := history{out: out, sources: sources, random: rand.New(rand.NewPCG(1, 2))}
		err := h.write(commits, size)
		if err == nil {
			err = out.Flush()
		}
		writer.CloseWithError(err)
	}()
	if _, err = runGit(ctx, dir, reader, "fast-import", "--quiet"); err != nil {
		return err
	}
	_, err = runGit(ctx, dir, nil, "repack", "-a", "-d", "-q")
	return err
}

// goSources are files of the Go distribution, of 1 to 200 KB.
func goSources(ctx context.Context) ([]string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, err
	}
	var all []string
	err = filepath.WalkDir(filepath.Join(strings.TrimSpace(string(out)), "src"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.Contains(path, "testdata") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		if info, err := d.Info(); err == nil && info.Size() > 1_000 && info.Size() < 200_000 {
			all = append(all, path)
		}
		return nil
	})
	return all, err
}

// history writes what git fast-import(1) reads.
type history struct {
	out     *bufio.Writer
	sources []string
	random  *rand.Rand
	files   []string // that there are
	content map[string][]byte
}

func (h *history) write(commits int, size int64) error {
	h.content = make(map[string][]byte)
	h.commit("refs/heads/main", 0, "")
	if err := h.add(); err != nil {
		return err
	}
	per := size / int64(commits)
	var total int64
	for i := range commits {
		from := ""
		if i == 0 {
			from = "refs/heads/main"
		}
		h.commit("refs/heads/agent/work", i+1, from)
		revised := int64(0)
		for want := per*int64(i+1) - total; want > 0; {
			before := total
			if revised < per/2 {
				total += h.revise()
				revised += total - before
			} else if len(h.sources) > 0 {
				name := h.sources[0]
				if err := h.add(); err != nil {
					return err
				}
				total += int64(len(h.content[name]))
			} else {
				total += h.revise()
			}
			want -= total - before
		}
	}
	return nil
}

func (h *history) commit(ref string, n int, from string) {
	message := fmt.Sprintf("change number %d\n\nAs it was agreed on.\n", n)
	_, _ = fmt.Fprintf(h.out, "commit %s\ncommitter Bench <bench@acme.example> %d +0000\ndata %d\n%s", ref, 1_700_000_000+n*60, len(message), message)
	if from != "" {
		_, _ = fmt.Fprintf(h.out, "from %s\n", from)
	}
}

// add adds the next file of the sources.
func (h *history) add() error {
	name := h.sources[0]
	h.sources = h.sources[1:]
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	h.files = append(h.files, name)
	h.put(name, data)
	return nil
}

// revise changes a few lines of a file that is there, and returns its size.
func (h *history) revise() int64 {
	name := h.files[h.random.IntN(len(h.files))]
	lines := bytes.SplitAfter(h.content[name], []byte("\n"))
	at := h.random.IntN(len(lines))
	lines[at] = append(fmt.Appendf(nil, "// revision %d of what follows: see the discussion.\n", h.random.IntN(1_000_000)), lines[at]...)
	h.put(name, bytes.Join(lines, nil))
	return int64(len(h.content[name]))
}

func (h *history) put(name string, data []byte) {
	h.content[name] = data
	_, _ = fmt.Fprintf(h.out, "M 100644 inline %s\ndata %d\n", strings.TrimPrefix(name, "/"), len(data))
	_, _ = h.out.Write(data)
	_, _ = h.out.WriteString("\n")
}

// addNoise puts a commit with size bytes that cannot be compressed on main.
func addNoise(ctx context.Context, dir string, size int) error {
	var in bytes.Buffer
	const message = "pictures\n"
	_, _ = fmt.Fprintf(&in, "commit refs/heads/main\ncommitter Bench <bench@acme.example> 1700100000 +0000\ndata %d\n%sfrom refs/heads/main^0\n", len(message), message)
	noise := rand.NewChaCha8([32]byte{3})
	data := make([]byte, 1<<20)
	for i := range size >> 20 {
		_, _ = noise.Read(data)
		_, _ = fmt.Fprintf(&in, "M 100644 inline pictures/%d.bin\ndata %d\n", i, len(data))
		_, _ = in.Write(data)
		_, _ = in.WriteString("\n")
	}
	_, err := runGit(ctx, dir, &in, "fast-import", "--quiet")
	return err
}
