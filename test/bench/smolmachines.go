package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/test/lab"
)

// machineHost is a smolvm that notes when a machine has been started: the stand-in's, since no
// hypervisor is needed for what is ours.
type machineHost struct {
	lab  *lab.Lab
	dir  string // of the program
	data string // of the stand-in's
}

// noted is written by the shell itself: another process would take part of what is measured.
const noted = `#!/bin/sh
"%s" "$@"
status=$?
[ "$1 $2" = "machine start" ] && : > "%s"
exit $status
`

// measureSmolmachines measures what bottles on smolmachines take beyond what smolvm itself does.
func measureSmolmachines(ctx context.Context, l *lab.Lab) (all []figure, err error) {
	if os.Geteuid() != 0 {
		why := "the stand-in for smolvm needs root"
		return []figure{atMost("smolmachines.first_byte_ms", 0, "ms", 150).unmeasured(why), atMost("smolmachines.list_added_ms", 0, "ms", 20).unmeasured(why)}, nil
	}
	h, err := newMachineHost(ctx, l)
	if err != nil {
		return nil, err
	}
	extra := l.Extra
	l.Extra = append(slices.Clone(extra), "PATH="+h.dir+":"+os.Getenv("PATH"), "SMOLVM_DATA_DIR="+h.data, "BOT_BOTTLE_BACKEND=smolmachines", "XDG_RUNTIME_DIR=")
	defer func() {
		l.Extra = extra
		err = errors.Join(err, os.RemoveAll(h.dir), os.RemoveAll(h.data))
	}()
	for _, measure := range []func(context.Context) ([]figure, error){h.measureFirstByte, h.measureList} {
		got, err := measure(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, got...)
	}
	return all, nil
}

func newMachineHost(ctx context.Context, l *lab.Lab) (h machineHost, err error) {
	h.lab = l
	if h.dir, err = os.MkdirTemp("", "smolvm"); err != nil {
		return h, err
	}
	if h.data, err = os.MkdirTemp("", "vm"); err != nil { // short: it holds sockets
		return h, err
	}
	real := filepath.Join(h.dir, "real")
	build := exec.CommandContext(ctx, "go", "build", "-o", real, "./test/smolvm")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return h, fmt.Errorf("cannot build the stand-in for smolvm: %w\n%s", err, out)
	}
	return h, errors.Join(
		os.Chmod(h.dir, 0o755), os.Chmod(h.data, 0o755), os.WriteFile(filepath.Join(h.dir, "smolvm"), fmt.Appendf(nil, noted, real, h.startedFile()), 0o755), h.lab.Furnish("127.0.0.1"),
		h.agent("quick", "echo up"), h.agent("idle", "exec sleep infinity"),
	)
}

func (h machineHost) startedFile() string { return filepath.Join(h.dir, "started") }

// agent makes an agent whose program is a script, on the real image.
func (h machineHost) agent(name, script string) error {
	file := filepath.Join(h.lab.Home, name, "Dockerfile")
	return errors.Join(
		h.lab.Write(name+"/Dockerfile", fmt.Sprintf("USER root\nRUN printf '#!/bin/sh\\n%s\\n' > /usr/local/bin/claude && chmod 755 /usr/local/bin/claude\n", script)),
		h.lab.Write("bottles/"+name+".md", "---\nextends: dev\nagent_provider: {dockerfile: "+file+"}\n---\n"),
		h.lab.Write("agents/"+name+".md", "---\nbottle: "+name+"\n---\n"),
	)
}

// measureFirstByte takes the time from when machine start has returned to the agent's first byte,
// and that of a whole start. The first one makes the image, and does not count.
func (h machineHost) measureFirstByte(ctx context.Context) ([]figure, error) {
	var first, whole []time.Duration
	for range rounds + 1 {
		c := h.lab.Command(ctx, "start", "--rm", "-y", "quick")
		var said strings.Builder
		c.Stderr = &said
		stdout, err := c.StdoutPipe()
		if err != nil {
			return nil, err
		}
		began := time.Now()
		if err := c.Start(); err != nil {
			return nil, err
		}
		_, err = io.ReadFull(stdout, make([]byte, 1))
		heard := time.Now()
		_, _ = io.Copy(io.Discard, stdout)
		if err := errors.Join(err, c.Wait()); err != nil {
			return nil, fmt.Errorf("cannot start: %w\n%s", err, said.String())
		}
		whole = append(whole, time.Since(began))
		info, err := os.Stat(h.startedFile())
		if err != nil {
			return nil, err
		}
		first = append(first, heard.Sub(info.ModTime()))
	}
	return []figure{
		atMost("smolmachines.first_byte_ms", ms(median(first[1:])), "ms", 150), report("smolmachines.first_byte_least_ms", ms(slices.Min(first[1:])), "ms"),
		report("smolmachines.start_ms", ms(median(whole[1:])), "ms"),
	}, nil
}

// measureList compares list with what it asks smolvm, in turn, with one bottle that runs. What our
// process takes to start at all is told beside.
func (h machineHost) measureList(ctx context.Context) (_ []figure, err error) {
	started, err := h.lab.Run(ctx, nil, "start", "-y", "--detach", "idle")
	if err != nil || started.Code != 0 {
		return nil, fmt.Errorf("cannot start an idle agent: %w\n%s", err, started.Stderr)
	}
	identity := strings.TrimSpace(started.Stdout)
	defer func() {
		_, failed := h.lab.Run(context.WithoutCancel(ctx), nil, "rm", "--force", identity)
		err = errors.Join(err, failed)
	}()
	var list, ls, nothing []time.Duration
	for range rounds {
		began := time.Now()
		r, err := h.lab.Run(ctx, nil, "list", "--json")
		list = append(list, time.Since(began))
		if err != nil || !strings.Contains(r.Stdout, identity) {
			return nil, fmt.Errorf("list does not have it: %w\n%s%s", err, r.Stdout, r.Stderr)
		}
		c := exec.CommandContext(ctx, filepath.Join(h.dir, "smolvm"), "machine", "ls", "--json")
		c.Env = h.lab.Env()
		began = time.Now()
		if out, err := c.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("smolvm machine ls: %w\n%s", err, out)
		}
		ls = append(ls, time.Since(began))
		began = time.Now()
		if r, err := h.lab.Run(ctx, nil, "version"); err != nil || r.Code != 0 {
			return nil, fmt.Errorf("cannot say its version: %w\n%s", err, r.Stderr)
		}
		nothing = append(nothing, time.Since(began))
	}
	return []figure{
		atMost("smolmachines.list_added_ms", ms(median(list)-median(ls)), "ms", 20), report("smolmachines.list_ms", ms(median(list)), "ms"), report("smolmachines.ls_ms", ms(median(ls)), "ms"),
		report("smolmachines.own_start_ms", ms(median(nothing)), "ms"),
	}, nil
}
