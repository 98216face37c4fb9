//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// maxBuffered is how much a plain exec may print.
const maxBuffered = 20 << 20

func (s *store) exec(p parsed) (int, error) {
	if len(p.after) == 0 {
		return 0, usage("the following required arguments were not provided:\n  <COMMAND>...")
	}
	if p.has("detach") && (p.has("interactive") || p.has("tty") || p.has("stream")) {
		return 0, usage("the argument '--detach' cannot be used with '--interactive'")
	}
	m, err := s.running(p.last("name"))
	if err != nil {
		return 0, err
	}
	o := order{Argv: p.after, Dir: p.last("workdir"), Interactive: p.has("interactive"), TTY: p.has("tty")}
	if o.Env, err = execEnv(p); err != nil {
		return 0, err
	}
	if text := p.last("timeout"); text != "" {
		if _, err := strconv.Atoi(text); err == nil { // humantime wants a unit
			return 0, usage(fmt.Sprintf("invalid value '%s' for '--timeout <TIMEOUT>': time unit needed, for example %ssec or %sms", text, text, text))
		}
		if o.Timeout, err = time.ParseDuration(text); err != nil {
			return 0, usage(fmt.Sprintf("invalid value '%s' for '--timeout <TIMEOUT>'", text))
		}
	}
	out := io.Writer(os.Stdout)
	if _, fault := s.of("exec", p); fault == "short" {
		out = &shortened{left: 8 << 10}
	}
	switch {
	case o.TTY:
		return s.onTerminal(m, o)
	case o.Interactive:
		_ = unix.SetNonblock(0, true) // as the real one does, until it exits
		defer func() { _ = unix.SetNonblock(0, false) }()
		return s.command(m, o, os.NewFile(0, "stdin"), out, os.Stderr)
	case p.has("stream"):
		return s.command(m, o, nil, out, os.Stderr)
	}
	stdout, stderr := &capped{}, &capped{}
	code, err := s.command(m, o, nil, stdout, stderr)
	if stdout.over || stderr.over {
		return 0, errors.New("agent operation failed: command output too large (max 20 MiB); use --stream")
	}
	_, _ = os.Stdout.Write(stdout.Bytes())
	_, _ = os.Stderr.Write(stderr.Bytes())
	return code, err
}

// shortened is a standard output whose connection is lost.
type shortened struct{ left int }

func (s *shortened) Write(p []byte) (int, error) {
	n, err := os.Stdout.Write(p[:min(len(p), s.left)])
	if s.left -= n; err == nil && n < len(p) {
		err = errors.New("connection to VM lost")
	}
	return n, err
}

type capped struct {
	bytes.Buffer
	over bool
}

func (c *capped) Write(p []byte) (int, error) {
	if c.Len()+len(p) > maxBuffered {
		c.over = true
		return len(p), nil
	}
	return c.Buffer.Write(p)
}

func execEnv(p parsed) ([]string, error) {
	var env []string
	for _, pair := range p.values["secret-env"] {
		guest, host, _ := strings.Cut(pair, "=")
		value, ok := os.LookupEnv(host)
		if !ok {
			return nil, config("--secret-env: host variable '%s' is not set", host)
		}
		env = append(env, guest+"="+value)
	}
	for _, v := range p.values["env"] {
		if !strings.Contains(v, "=") {
			v += "=" + os.Getenv(v)
		}
		env = append(env, v)
	}
	return env, nil
}

// running finds a machine that exec and cp can speak to.
func (s *store) running(name string) (*machine, error) {
	m, err := s.find(name)
	if err != nil {
		return nil, err
	}
	if state, pid := s.state(m); pid == 0 || state != "running" {
		return nil, fmt.Errorf("agent operation failed: connect: machine '%s' is not running. Use 'smolvm machine start --name %s' first.", name, name)
	}
	return m, nil
}

func (s *store) dial(m *machine, o order) (*net.UnixConn, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: filepath.Join(s.vm(m.Name), "agent.sock"), Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("agent operation failed: connect: %w", err)
	}
	line, err := json.Marshal(o)
	if err == nil {
		_, err = conn.Write(append(line, '\n'))
	}
	return conn, err
}

// command runs a command in the guest to its end.
func (s *store) command(m *machine, o order, stdin *os.File, stdout, stderr io.Writer) (int, error) {
	o.Op = "exec"
	conn, err := s.dial(m, o)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	to := &frames{w: conn}
	if stdin != nil {
		go func() {
			to.copy(frameIn, stdin)
			_ = to.write(frameInEnd, nil)
		}()
	}
	if o.TTY {
		resized := make(chan os.Signal, 1)
		signal.Notify(resized, syscall.SIGWINCH)
		go func() {
			for range resized {
				if rows, cols, err := pty.Getsize(os.Stdin); err == nil {
					data, _ := json.Marshal(pty.Winsize{Rows: uint16(rows), Cols: uint16(cols)})
					_ = to.write(frameSize, data)
				}
			}
		}()
	}
	return take(bufio.NewReader(conn), stdout, stderr)
}

func take(in *bufio.Reader, stdout, stderr io.Writer) (int, error) {
	for {
		kind, data, err := readFrame(in)
		if err != nil {
			return 0, errors.New("agent operation failed: run interactive: connection to VM lost")
		}
		switch kind {
		case frameOut:
			_, err = stdout.Write(data)
		case frameErr:
			_, err = stderr.Write(data)
		case frameExit:
			var r result
			if err := json.Unmarshal(data, &r); err != nil {
				return 0, err
			}
			if r.Timeout > 0 {
				_, _ = fmt.Fprintf(os.Stderr, "command timed out after %dms\n", r.Timeout.Milliseconds())
			}
			return r.Code, r.err()
		}
		if err != nil {
			return 0, fmt.Errorf("io error: %w", err)
		}
	}
}

func (s *store) onTerminal(m *machine, o order) (int, error) {
	if !term.IsTerminal(0) {
		return 0, errors.New("the input device is not a TTY")
	}
	if rows, cols, err := pty.Getsize(os.Stdin); err == nil {
		o.Rows, o.Cols = uint16(rows), uint16(cols)
	}
	before, err := term.MakeRaw(0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = term.Restore(0, before) }()
	return s.command(m, o, os.Stdin, os.Stdout, os.Stderr)
}

func (s *store) cp(p parsed) (int, error) {
	from, to := p.args[0], p.args[1]
	name, path, out := strings.Cut(from, ":")
	if !out {
		var ok bool
		if name, path, ok = strings.Cut(to, ":"); !ok {
			return 0, config("cp: one of SRC or DST must use machine:path syntax (e.g., myvm:/workspace/file)")
		}
	}
	if out && (p.has("mode") || p.has("uid") || p.has("gid")) {
		return 0, config("cp: --mode/--uid/--gid apply to uploads only (host -> machine)")
	}
	o := order{Op: "cp-in", Path: path, Mode: 0o644}
	if text := p.last("mode"); text != "" {
		mode, err := strconv.ParseUint(text, 8, 12)
		if err != nil {
			return 0, config("cp: invalid octal mode '%s' (expected e.g. 644)", text)
		}
		o.Mode = uint32(mode)
	}
	o.UID, _ = strconv.Atoi(p.last("uid"))
	o.GID, _ = strconv.Atoi(p.last("gid"))
	m, err := s.running(name)
	if err != nil {
		return 0, err
	}
	if out {
		o.Op = "cp-out"
		return s.download(m, o, to)
	}
	return s.upload(m, o, from)
}

func (s *store) upload(m *machine, o order, from string) (int, error) {
	f, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return 0, config("cp: %s is not a regular file", from)
	}
	conn, err := s.dial(m, o)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	w := &frames{w: conn}
	w.copy(frameIn, f)
	_ = w.write(frameInEnd, nil)
	return take(bufio.NewReader(conn), io.Discard, io.Discard)
}

func (s *store) download(m *machine, o order, to string) (int, error) {
	conn, err := s.dial(m, o)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	f, err := os.CreateTemp(filepath.Dir(to), ".cp-*")
	if err != nil {
		return 0, err
	}
	code, err := take(bufio.NewReader(conn), f, io.Discard)
	if err := errors.Join(err, f.Close()); err != nil || code != 0 {
		return code, errors.Join(err, os.Remove(f.Name()))
	}
	return 0, os.Rename(f.Name(), to)
}
