// Package pipelock asks the agent firewall Pipelock, a program of somebody else's, for a
// second opinion about what is to leave a bottle. It speaks its Scan API, over a unix
// socket, and makes its configuration (docs/pipelock.md).
//
// It must never take anything but completed and allow for a yes, and never hand pipelock a
// secret: whoever calls it takes those out first.
package pipelock

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Sockets in the directory that pipelock and egress share.
const (
	ScanSocket  = "scan.sock"  // carries its Scan API
	OrderSocket = "order.sock" // on which whoever runs it is told how; open for as long as it is needed
)

// Bounds, of the client's own.
const (
	DefaultBudget = 1 << 20          // bytes of a body that pipelock has not seen before
	MaxURL        = 8192             // bytes
	atOnce        = 4                // calls: it has one processor
	inAll         = 30 * time.Second // of one text
)

// OverBudgetError says that a text has more that is new than may be looked at.
type OverBudgetError struct{ Budget int64 }

func (e *OverBudgetError) Error() string {
	return fmt.Sprintf("it has more than %d KiB that pipelock has not seen before", e.Budget>>10)
}

// Dial connects with one of the sockets, by its name, for who may make none.
type Dial func(ctx context.Context, socket string) (net.Conn, error)

// dial connects with one of the sockets.
func (o Options) dial(ctx context.Context, socket string) (net.Conn, error) {
	if o.Dial != nil {
		return o.Dial(ctx, socket)
	}
	return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(o.Dir, socket))
}

// Options of a Scanner.
type Options struct {
	Dir        string // of the sockets
	Dial       Dial   // how they are reached; nil: by their paths
	Hosts      []string
	MinVersion string // of its engine; "" for any
}

// Scanner is pipelock. It may be used concurrently.
type Scanner struct {
	options Options
	token   string
	caller  *caller
	slots   chan struct{}
	serial  atomic.Int64

	testing sync.Mutex // held while pipelock is started or tested
	order   *order     // to who runs it; guarded by testing

	setting sync.RWMutex // held for writing, beside testing, while pipelock starts with other hosts: scans wait
	hosts   []string
	clean   *cache             // parts of bodies, under this configuration
	wholes  *cache             // what is one call, under it: pages that are read push no conversation out
	running context.Context    //nolint:containedctx // of the scans that go on under it
	stop    context.CancelFunc // ends them

	lost chan struct{} // something is to be looked after

	mu      sync.Mutex
	live    *order // whose end is pipelock's
	down    error  // why nothing is asked of it; nil while it passes its test
	version string
}

// Result is what looking at something took.
type Result struct {
	Scans []string // ids
	Bytes int64    // that were looked at; the rest was known
}

// New makes a Scanner. It asks for nothing yet, and allows nothing.
func New(o Options) *Scanner {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	token := hex.EncodeToString(key)
	running, stop := context.WithCancel(context.Background())
	return &Scanner{
		options: o, token: token, caller: newCaller(o, token), slots: make(chan struct{}, atOnce), lost: make(chan struct{}, 1),
		hosts: Allowlist(o.Hosts), clean: newCache(maxRemembered), wholes: newCache(maxWholes), running: running, stop: stop, down: outage("it has not been tested yet"),
	}
}

// Version is what pipelock says of its engine, "" before its first test.
func (s *Scanner) Version() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

// URL asks about the whole URL of a request.
func (s *Scanner) URL(ctx context.Context, url string) (Result, error) {
	if len(url) > MaxURL {
		return Result{}, &OverBudgetError{MaxURL}
	}
	return s.whole(ctx, kindURL, url)
}

// Head asks about the headers of a request.
func (s *Scanner) Head(ctx context.Context, text string) (Result, error) {
	if text == "" {
		return Result{}, nil
	}
	if len(text) > maxChunk {
		return s.Body(ctx, text, DefaultBudget)
	}
	return s.whole(ctx, kindText, text)
}

// whole asks about what is one call.
func (s *Scanner) whole(ctx context.Context, kind, text string) (r Result, err error) {
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return r, err
	}
	defer end()
	known, d := s.wholes, digestOf(kind, text)
	if known.has(d) {
		return r, nil
	}
	a, err := s.ask(ctx, kind, text)
	if err != nil {
		return r, because(ctx, err)
	}
	known.add(d)
	return Result{[]string{a.Scan}, int64(len(text))}, nil
}

// Body asks about a text, in pieces that overlap. What was allowed before, with the same
// text before it, is not asked about again. budget bounds what is.
func (s *Scanner) Body(ctx context.Context, text string, budget int64) (r Result, err error) {
	ctx, end, err := s.begin(ctx)
	if err != nil {
		return r, err
	}
	defer end()
	known := s.clean
	fresh, digests := unknown(known, text)
	for _, u := range fresh {
		r.Bytes += int64(u.to - u.from)
	}
	if r.Bytes > budget {
		return Result{}, &OverBudgetError{budget}
	}
	for _, run := range chunks(fresh) {
		whole := span{run[0].from, run[len(run)-1].to}.wide(text)
		a, err := s.ask(ctx, kindText, text[whole.from:whole.to])
		if err != nil {
			return r, because(ctx, err)
		}
		r.Scans = append(r.Scans, a.Scan)
		known.add(digests[:len(run)]...)
		digests = digests[len(run):]
	}
	return r, nil
}

// unknown are the units of a text that were not allowed before as they stand in it.
func unknown(known *cache, text string) (fresh []span, digests []digest) {
	for _, u := range cut(text) {
		whole := u.wide(text)
		if d := digestOf(kindText, text[whole.from:whole.to]); !known.has(d) {
			fresh, digests = append(fresh, u), append(digests, d)
		}
	}
	return fresh, digests
}

// begin waits until pipelock runs with its hosts; the caller calls end, and asks under the
// context that it gets. It is an error while pipelock does not pass its test, also for what is
// known to be clean: without it nothing goes.
func (s *Scanner) begin(parent context.Context) (ctx context.Context, end func(), err error) {
	s.setting.RLock()
	if err := cmp.Or(s.Down(), parent.Err()); err != nil {
		s.setting.RUnlock()
		return parent, func() {}, err
	}
	within, done := context.WithTimeoutCause(parent, inAll, outage("it took longer than %s", inAll))
	ctx, cancel := context.WithCancelCause(within)
	undo := context.AfterFunc(s.running, func() { cancel(outage(otherHosts)) })
	return ctx, func() {
		undo()
		cancel(nil)
		done()
		s.setting.RUnlock()
	}, nil
}

// otherHosts is why a scan was ended that may be put again at once.
const otherHosts = "it is started with other hosts"

// because says why a scan was ended, if it was pipelock's fault or ours.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.As(cause, new(*OutageError)) {
		return cause
	}
	return err
}

// ask takes its turn. An answer takes none: requests wait for theirs, and it is asked about
// one at a time.
func (s *Scanner) ask(ctx context.Context, kind, text string) (answer, error) {
	if kind == kindAnswer {
		return s.put(ctx, kind, text)
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
	return s.put(ctx, kind, text)
}

func (s *Scanner) put(ctx context.Context, kind, text string) (answer, error) {
	return s.caller.ask(ctx, kind, "r"+strconv.FormatInt(s.serial.Add(1), 10), text)
}

// Allow has pipelock start with other hosts, if they are others, and tests it. Scans that go
// on are ended, later ones wait. On error it is down, until Keep has brought it up with these.
func (s *Scanner) Allow(ctx context.Context, hosts []string) error {
	s.testing.Lock()
	defer s.testing.Unlock()
	if hosts = Allowlist(hosts); slices.Equal(hosts, s.hosts) {
		return nil
	}
	s.stop()
	s.setting.Lock()
	defer s.setting.Unlock()
	s.running, s.stop = context.WithCancel(context.Background())
	s.hosts, s.clean, s.wholes = hosts, newCache(maxRemembered), newCache(maxWholes)
	s.hangUp()
	return s.settle(s.test(ctx))
}
