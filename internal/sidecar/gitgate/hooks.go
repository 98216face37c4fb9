package gitgate

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// hooks are how git asks the gate about a push: its pre-receive hook (githooks(5)) is our
// own program, which hands the question over on a socket of the gate's uid, prints what it
// is to tell the client, and fails unless the gate says yes.
type hooks struct {
	listener net.Listener
	socket   string

	mu     sync.Mutex
	pushes map[string]*push // that run, by their token
}

// Environment of a hook.
const (
	envSocket = "BOT_BOTTLE_GATE"
	envPush   = "BOT_BOTTLE_PUSH"
)

func newHooks(o Options) (*hooks, error) {
	script := fmt.Sprintf("#!/bin/sh\nexec %s sidecar git-hook\n", quoted(o.Self))
	if err := writeFile(filepath.Join(o.Dir, "hooks", "pre-receive"), script, 0o700); err != nil {
		return nil, err
	}
	h := &hooks{socket: filepath.Join(o.Keys, "hook.sock"), pushes: make(map[string]*push)}
	if err := os.MkdirAll(o.Keys, 0o700); err != nil {
		return nil, err
	}
	if err := os.Remove(h.socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var err error
	h.listener, err = net.Listen("unix", h.socket)
	return h, err
}

// quoted is a word of the shell's.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func (h *hooks) close() error { return h.listener.Close() }

// begin registers a push, and returns the environment by which its hook names it.
func (h *hooks) begin(p *push) (env []string, end func()) {
	token := rand.Text()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pushes[token] = p
	return []string{envSocket + "=" + h.socket, envPush + "=" + token}, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.pushes, token)
	}
}

// question is what a hook asks.
type question struct {
	Push       string `json:"push"`
	Updates    string `json:"updates"`    // its standard input
	Quarantine string `json:"quarantine"` // where the new objects are
}

// reply is a line for the hook.
type reply struct {
	Say     string `json:"say,omitempty"`
	Done    bool   `json:"done,omitempty"`
	OK      bool   `json:"ok,omitempty"`
	Unknown bool   `json:"unknown,omitempty"` // it is not OK, and may be upstream all the same
}

// serve answers hooks until ctx ends.
func (h *hooks) serve(ctx context.Context) {
	defer context.AfterFunc(ctx, func() { _ = h.listener.Close() })()
	var answering sync.WaitGroup
	defer answering.Wait()
	for {
		conn, err := h.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // out of descriptors
			continue
		}
		answering.Go(func() {
			defer func() { _ = conn.Close() }()
			h.answer(conn)
		})
	}
}

// maxUpdates bounds what a hook passes on.
const maxUpdates = 1 << 20

func (h *hooks) answer(conn net.Conn) {
	var q question
	if json.NewDecoder(io.LimitReader(conn, 2*maxUpdates)).Decode(&q) != nil {
		return
	}
	h.mu.Lock()
	p := h.pushes[q.Push]
	h.mu.Unlock()
	if p == nil {
		return
	}
	out := json.NewEncoder(conn)
	ok := p.decide(q, func(text string) { _ = out.Encode(reply{Say: text}) })
	_ = out.Encode(reply{Done: true, OK: ok, Unknown: p.unknown})
}

// Hook is git's pre-receive hook. It returns the exit status, which is 0 only if the gate
// said yes.
func Hook(stdin io.Reader, stderr io.Writer, getenv func(string) string) int {
	if err := askGate(stdin, stderr, getenv); err != nil {
		_, _ = fmt.Fprintln(stderr, "bot-bottle: "+err.Error())
		return 1
	}
	return 0
}

var (
	errRefused = errors.New("nothing was pushed")
	errUnknown = errors.New("whether it was pushed is not known: git fetch shows it")
	errNoGate  = errors.New("the gate does not answer, so nothing was pushed: try again")
)

func askGate(stdin io.Reader, stderr io.Writer, getenv func(string) string) error {
	if getenv("GIT_PUSH_CERT") != "" {
		return errors.New("REFUSED: signed pushes do not pass: push without --signed, nothing was pushed")
	}
	updates, err := io.ReadAll(io.LimitReader(stdin, maxUpdates+1))
	if err != nil || len(updates) > maxUpdates {
		return errors.New("too many refs at once")
	}
	conn, err := net.Dial("unix", getenv(envSocket))
	if err != nil {
		return errNoGate
	}
	defer func() { _ = conn.Close() }()
	q := question{Push: getenv(envPush), Updates: string(updates), Quarantine: getenv("GIT_QUARANTINE_PATH")}
	if err := json.NewEncoder(conn).Encode(q); err != nil {
		return errNoGate
	}
	return hear(conn, stderr)
}

// hear passes on what the gate says, up to its decision; nil is a yes.
func hear(from io.Reader, stderr io.Writer) error {
	answers := json.NewDecoder(bufio.NewReader(from))
	for {
		var r reply
		if err := answers.Decode(&r); err != nil {
			return errUnknown // the gate has ended while it was at it
		}
		switch {
		case r.Done && r.OK:
			return nil
		case r.Done && r.Unknown:
			return errUnknown
		case r.Done:
			return errRefused
		}
		if _, err := fmt.Fprintln(stderr, r.Say); err != nil {
			return err
		}
	}
}
