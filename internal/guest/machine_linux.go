package guest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/internal/session"
)

// machine is the guest of a virtual machine.
type machine struct {
	o       Options
	listens *listeners
	orders  chan control.Order
	answers chan error
	asks    chan struct{} // to end the agent
	ended   chan struct{} // closed when it has
	sockets *os.Root      // the directory of the sockets, to write to

	mu       sync.Mutex
	now      control.Condition
	console  *console
	pipe     *session.Pipe
	services []control.Service // nil: not told yet

	reading sync.WaitGroup // what an agent without a terminal writes
	outputs []*os.File
}

// RunMachine is process 1 of a machine's workload: it listens, waits for an Order, runs the
// agent as a user without a capability, and stays when that has ended. It returns when ctx ends
// or something cannot be set up: then there is no agent.
func RunMachine(ctx context.Context, o Options, address string) error {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, syscall.SIGCHLD, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	defer signal.Stop(signals)
	m := &machine{o: o, orders: make(chan control.Order), answers: make(chan error), asks: make(chan struct{}, 1), ended: make(chan struct{})}
	if err := m.enclose(); err != nil {
		return err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: address})
	if err != nil {
		return fmt.Errorf("cannot listen for operators: %w", err)
	}
	defer func() { _ = listener.Close() }()
	if m.listens, err = listenFor(context.WithoutCancel(ctx), o.SocketDir, o.Log, m.serves); err != nil {
		return err
	}
	defer m.listens.close()
	go m.accept(listener)
	following, stop := context.WithCancel(ctx)
	defer stop()
	go m.followRewrites(following)
	m.look(ctx, signals)
	return nil
}

// serves reports whether a service runs. Before an Order, all are thought to.
func (m *machine) serves(s control.Service) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.services == nil {
		return true
	}
	for _, one := range m.services {
		if one == s {
			return true
		}
	}
	return false
}

// walls are what nobody in the bottle may write to, whoever he is.
func walls() []string {
	return []string{control.BinaryDir, control.SocketDir, "/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus"}
}

// enclose takes away what root in the bottle could change of the machine.
func (m *machine) enclose() error {
	if err := unix.Sethostname([]byte("bottle")); err != nil {
		return fmt.Errorf("cannot name the bottle: %w", err)
	}
	dir, err := os.OpenRoot(control.SocketDir) // opened now, it can be written to below what closes it off
	if err != nil {
		return fmt.Errorf("the bottle has no sockets: %w", err)
	}
	m.sockets = dir
	for _, path := range walls() {
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err := unix.Mount(path, path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("cannot close %s off: %w", path, err)
		}
		var flags unix.Statfs_t
		if err := unix.Statfs(path, &flags); err != nil {
			return err
		}
		kept := uintptr(flags.Flags) & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC) // those of the mount, which may be locked
		if err := unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|kept, ""); err != nil {
			return fmt.Errorf("cannot close %s off: %w", path, err)
		}
	}
	return nil
}

// accept takes those in who speak with us.
func (m *machine) accept(l *net.UnixListener) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return
		}
		if !(Terminal{}).trusts(conn) {
			_ = conn.Close()
			continue
		}
		go m.serve(conn)
	}
}

func (m *machine) serve(conn *net.UnixConn) {
	verb, err := readWord(conn)
	if err != nil {
		_ = conn.Close()
		return
	}
	switch verb {
	case control.SaySession, control.SayPipe:
		m.mu.Lock()
		c, p := m.console, m.pipe
		m.mu.Unlock()
		if verb == control.SaySession && c != nil {
			c.hub.Serve(conn)
			return
		} else if verb == control.SayPipe && p != nil {
			p.Serve(conn)
			return
		}
	case control.SayBegin:
		m.serveBegin(conn)
	case control.SayStatus:
		m.mu.Lock()
		now := m.now
		m.mu.Unlock()
		_ = json.NewEncoder(conn).Encode(now)
	case control.SayEnd:
		select {
		case m.asks <- struct{}{}:
		default:
		}
		<-m.ended
		_ = json.NewEncoder(conn).Encode(outcome{})
	}
	_ = conn.Close()
}

func (m *machine) serveBegin(conn net.Conn) {
	var o control.Order
	err := json.NewDecoder(conn).Decode(&o)
	if err == nil {
		m.orders <- o
		err = <-m.answers
	}
	var said outcome
	if err != nil {
		said.Error = err.Error()
	}
	_ = json.NewEncoder(conn).Encode(said)
}

// readWord reads a line, and not a byte more.
func readWord(r io.Reader) (string, error) {
	var word []byte
	var b [1]byte
	for len(word) < 32 {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			return string(word), nil
		}
		word = append(word, b[0])
	}
	return "", errors.New("that is no verb")
}

// look waits for the Order, reaps whatever ends, and sees to the agent's end, until ctx ends or
// a signal says so.
func (m *machine) look(ctx context.Context, signals <-chan os.Signal) {
	agent := 0
	for {
		select {
		case o := <-m.orders:
			pid, err := m.begin(o, agent)
			if err == nil {
				agent = pid
			}
			m.answers <- err
			if err == nil {
				watched, stop := context.WithCancel(ctx)
				go func() {
					select {
					case <-m.asks:
						stop()
					case <-m.ended:
					}
				}()
				status := look(watched, agent, signals, o.OnTerminal())
				stop()
				m.finish(o, status)
			}
		case <-m.asks: // there is nothing to end
			m.mu.Lock()
			if !m.now.Begun {
				m.now.Begun, m.now.Ended = true, true
				close(m.ended)
			}
			m.mu.Unlock()
		case s := <-signals:
			if s == syscall.SIGCHLD {
				reap(agent)
			} else if s == syscall.SIGTERM {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// begin starts the agent.
func (m *machine) begin(o control.Order, before int) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.now.Begun || before != 0 {
		return 0, errors.New("the bottle's agent has been started already")
	}
	if err := os.MkdirAll(filepath.Dir(transcriptFile), 0o700); err != nil {
		return 0, err
	}
	m.services = append([]control.Service{}, o.Services...)
	runs := m.o
	runs.Argv, runs.Dir = append([]string{control.Binary, "guest", "within", "node", "--"}, o.Argv...), o.Dir
	var pid int
	var err error
	if o.OnTerminal() {
		pid, err = m.onTerminal(o, runs)
	} else {
		pid, err = m.onPipes(o, runs)
	}
	if err == nil {
		m.now = control.Condition{Begun: true, Terminal: o.OnTerminal()}
	}
	return pid, err
}

func (m *machine) onTerminal(o control.Order, runs Options) (int, error) {
	record, err := newRotating(transcriptFile)
	if err != nil {
		return 0, err
	}
	c, err := newConsole(Terminal{Size: o.Size, Awaited: o.Awaited, Record: record, Term: variable(o.Env, "TERM")})
	if err != nil {
		return 0, err
	}
	err = c.agents.Chown(provider.UID, -1) // by its name, too, it is the agent's
	var pid int
	if err == nil {
		pid, _, err = startAgent(runs, c.agents)
	}
	c.started()
	if err != nil {
		c.close()
		return 0, err
	}
	m.console = c
	return pid, nil
}

// variable is the value of one in an environment.
func variable(env []string, name string) string {
	for _, v := range env {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

func (m *machine) onPipes(o control.Order, runs Options) (int, error) {
	var theirs, ours [3]*os.File
	closeAll := func(files []*os.File) {
		for _, f := range files {
			_ = f.Close() // nil is fine
		}
	}
	var err error
	if o.Stdin {
		theirs[0], ours[0], err = os.Pipe()
	} else {
		theirs[0], err = os.Open(os.DevNull)
	}
	for i := 1; err == nil && i < 3; i++ {
		ours[i], theirs[i], err = os.Pipe()
	}
	if err != nil {
		closeAll(append(theirs[:], ours[:]...))
		return 0, err
	}
	pid, _, err := startAgentOn(runs, theirs)
	closeAll(theirs[:])
	if err != nil {
		closeAll(ours[:])
		return 0, err
	}
	var stdin io.WriteCloser
	if ours[0] != nil {
		stdin = ours[0]
	}
	m.pipe = session.NewPipe(stdin, !o.Awaited)
	m.reading.Go(func() { m.pipe.Stdout(ours[1]); _ = ours[1].Close() })
	m.reading.Go(func() { m.pipe.Stderr(ours[2]); _ = ours[2].Close() })
	m.outputs = ours[1:]
	return pid, nil
}

// finish tells operators how the agent ended. Its way out ends with it.
func (m *machine) finish(o control.Order, status int) {
	m.mu.Lock()
	m.now.Ended, m.now.Status = true, status
	m.mu.Unlock()
	close(m.ended)
	go func() {
		if m.console != nil {
			m.console.finish(status)
		}
		if m.pipe != nil {
			m.finishPipe(o, status)
		}
		limited, cancel := context.WithTimeout(context.Background(), lastWords)
		defer cancel()
		_ = newPolicy(socket{dir: m.o.SocketDir, name: control.Egress}).ended(limited) // whoever was there has been told
		m.listens.close()
	}()
}

// finishPipe waits a moment for what the agent's children may still hold of its streams.
func (m *machine) finishPipe(o control.Order, status int) {
	late := time.AfterFunc(lastOutput, func() {
		for _, f := range m.outputs {
			_ = f.SetReadDeadline(time.Now())
		}
	})
	m.reading.Wait()
	late.Stop()
	patience := lastWords
	if o.Awaited {
		patience = awaiting
	}
	m.pipe.End(status, o.Awaited, patience)
}

// Talk connects a stream with the guest of the machine that it runs in: it says a verb first.
func Talk(ctx context.Context, address, verb string, in io.Reader, out io.Writer) error {
	switch verb {
	case control.SaySession, control.SayPipe, control.SayStatus, control.SayEnd:
	default:
		return fmt.Errorf("%q is no verb", verb)
	}
	return Attach(ctx, address, io.MultiReader(strings.NewReader(verb+"\n"), in), out)
}

// Give hands the guest an Order.
func Give(ctx context.Context, address string, o control.Order) error {
	conn, err := dialGuest(ctx, address)
	if err != nil {
		return fmt.Errorf("cannot reach the guest: %w", err)
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	line, err := json.Marshal(o)
	if err == nil {
		_, err = fmt.Fprintf(conn, "%s\n%s\n", control.SayBegin, line)
	}
	var said outcome
	if err == nil {
		err = json.NewDecoder(bufio.NewReader(conn)).Decode(&said)
	}
	if err == nil && said.Error != "" {
		err = errors.New(said.Error)
	}
	return err
}
