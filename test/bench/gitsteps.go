package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/dlp"
)

// measureSteps runs what a push through the gate is made of, one step at a time, on the same
// objects, and says how much processor time each takes: that is what two processors have to
// share, and it stays nearly the same while others are at work.
func measureSteps(ctx context.Context, dir, work string) (_ []figure, err error) {
	bare := filepath.Join(dir, "steps.git")
	if _, err := runGit(ctx, "/", nil, "clone", "-q", "--bare", "--no-local", "--single-branch", "-b", "main", work, bare); err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(bare) }()
	tip, err := runGit(ctx, work, nil, "rev-parse", "agent/work")
	if err != nil {
		return nil, err
	}
	s := &steps{ctx: ctx}
	pack := s.run("client_pack", work, []byte("agent/work\n^main\n"), "pack-objects", "--revs", "--thin", "--stdout", "--delta-base-offset", "-q")
	s.run("index_pack", bare, pack, "index-pack", "--strict", "--stdin", "--fix-thin")
	listed := s.run("rev_list", bare, []byte(tip+"\n"), "rev-list", "--objects", "--stdin", "--not", "--all")
	var ids bytes.Buffer
	for line := range strings.Lines(string(listed)) {
		ids.WriteString(line[:40] + "\n")
	}
	content := s.run("cat_file", bare, ids.Bytes(), "cat-file", "--batch", "--buffer")
	commits, err := runGit(ctx, bare, nil, "rev-list", tip, "--not", "--all")
	if err != nil {
		return nil, err
	}
	s.run("diff_tree", bare, []byte(commits+"\n"), "diff-tree", "-r", "-z", "--raw", "--stdin", "-m", "--root")
	s.run("forward_pack", bare, []byte(tip+"\n^main\n"), "pack-objects", "--revs", "--thin", "--stdout", "--delta-base-offset", "-q")
	if s.err != nil {
		return nil, s.err
	}
	before, err := cpu(os.Getpid())
	if err != nil {
		return nil, err
	}
	if err := scanObjects(ctx, content); err != nil {
		return nil, err
	}
	after, err := cpu(os.Getpid())
	return append(s.figures, report("git.step_scan_cpu_s", (after-before).Seconds(), "s")), err
}

// steps are run one after the other until one fails.
type steps struct {
	ctx     context.Context
	figures []figure
	err     error
}

// run runs git, and returns its output.
func (s *steps) run(name, dir string, stdin []byte, args ...string) []byte {
	if s.err != nil {
		return nil
	}
	c := exec.CommandContext(s.ctx, "git", args...)
	c.Dir, c.Env, c.Stdin = dir, gitEnv(), bytes.NewReader(stdin)
	out, err := c.Output()
	if err != nil {
		s.err = fmt.Errorf("git %s: %w", args[0], err)
		return nil
	}
	took := c.ProcessState.UserTime() + c.ProcessState.SystemTime()
	s.figures = append(s.figures, report("git.step_"+name+"_cpu_s", took.Seconds(), "s"))
	return out
}

// scanObjects searches what cat-file has printed, on one processor.
func scanObjects(ctx context.Context, content []byte) error {
	scanner, err := dlp.New(dlp.Options{CacheSize: -1})
	if err != nil {
		return err
	}
	in := bufio.NewReader(bytes.NewReader(content))
	for {
		head, err := in.ReadString('\n')
		if err == io.EOF {
			return nil
		}
		var id, kind string
		var size int
		if _, err := fmt.Sscan(head, &id, &kind, &size); err != nil {
			return err
		}
		data := make([]byte, size)
		if _, err := io.ReadFull(in, data); err != nil {
			return err
		}
		if _, err := in.Discard(1); err != nil {
			return err
		}
		if kind == "tree" {
			continue // of these the names are
		}
		if _, err := scanner.Scan(ctx, dlp.Input{Kind: dlp.Body, Data: data}); err != nil {
			return err
		}
	}
}
