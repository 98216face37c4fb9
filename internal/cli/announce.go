package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/notify"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// announcer tells the operator of requests that wait: this terminal, by its bell and title, and
// whatever config.yaml says. It may be used concurrently.
type announcer struct {
	app    *App
	sender notify.Sender
	screen interface{ Announce(string) } // nil: this is no terminal

	mu      sync.Mutex
	waiting map[string]int      // requests, by bottle
	heard   map[string]*hearing // by bottle
	failed  bool                // and was told so
}

// announcer reads how the operator wants to be told.
func (a *App) announcer(screen interface{ Announce(string) }) (*announcer, error) {
	config, err := manifest.LoadConfig(a.home)
	if err != nil {
		return nil, err
	}
	return &announcer{app: a, screen: screen, waiting: make(map[string]int), heard: make(map[string]*hearing), sender: notify.Sender{
		Desktop: !config.Notify.NoDesktop && a.hasDesktop(), OS: runtime.GOOS, Command: config.Notify.Command, Webhook: config.Notify.Webhook, Env: os.Environ(),
	}}, nil
}

// hasDesktop reports whether somebody could see a notification here.
func (a *App) hasDesktop() bool {
	return runtime.GOOS == "darwin" || a.Getenv("DISPLAY") != "" || a.Getenv("WAYLAND_DISPLAY") != ""
}

// hear takes what a bottle's requests have become, and says so on this terminal. tell, which may take
// long, tells of what is new and waits outside of it: by one process of all that follow the bottle.
func (n *announcer) hear(ctx context.Context, bottle string, all, news []requests.Shown) (tell func() error) {
	waiting := 0
	for _, s := range all {
		if s.State == requests.Pending {
			waiting++
		}
	}
	fresh := slices.DeleteFunc(slices.Clone(news), func(s requests.Shown) bool { return s.State != requests.Pending || !n.listens(bottle, s.ID) })
	_ = unlessEnded(ctx, func() error { n.onScreen(bottle, waiting, len(fresh) > 0); return nil })
	return func() error { return n.outside(ctx, bottle, waiting, fresh) }
}

func (n *announcer) outside(ctx context.Context, bottle string, waiting int, fresh []requests.Shown) (failed error) {
	for _, s := range fresh {
		if first, err := n.app.store().FirstToTell(bottle, numberOf(s.ID)); err != nil || !first {
			continue
		}
		if err := n.sender.Send(ctx, notify.Notice{Bottle: bottle, Request: s.ID, Kind: string(s.Kind), Waiting: waiting}); err != nil {
			failed = err // told once, as all that follow are
		}
	}
	return failed
}

// A bottle is heard so often at once, and then once in so long: an agent that asks and takes it
// back, again and again, rings no bell for ever (ATTACKS G1). How many wait is in the title always.
const (
	noticesAtOnce = 10
	perNotice     = 20 * time.Second
)

// hearing is what was heard of a bottle.
type hearing struct {
	limit  *rate.Limiter
	newest int // number of a request: they go up
}

// listens reports whether a bottle's request is told of aloud. One that is only shown again, since
// it or the policy has changed, is not, and costs the next one nothing.
func (n *announcer) listens(bottle, id string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.heard[bottle]
	if h == nil {
		h = &hearing{limit: rate.NewLimiter(rate.Every(perNotice), noticesAtOnce)}
		n.heard[bottle] = h
	}
	number := numberOf(id)
	if number <= h.newest {
		return false
	}
	h.newest = number
	return h.limit.Allow()
}

// numberOf is a request's number, 0 if it has none.
func numberOf(id string) int {
	_, number, _ := strings.Cut(id, "-")
	k, _ := strconv.Atoi(number)
	return k
}

// onScreen rings the bell, and has the title say how many wait. It names nothing that an agent
// could choose.
func (n *announcer) onScreen(bottle string, waiting int, ring bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	before := n.total()
	n.waiting[bottle] = waiting
	total := n.total()
	if n.screen == nil || total == before && !ring {
		return
	}
	text := fmt.Sprintf("\x1b]2;%s\x1b\\", titleOf(total))
	if ring {
		text += "\a"
	}
	n.screen.Announce(text)
}

func titleOf(waiting int) string {
	switch waiting {
	case 0:
		return "bot-bottle"
	case 1:
		return "1 request waits - bot-bottle"
	}
	return fmt.Sprintf("%d requests wait - bot-bottle", waiting)
}

func (n *announcer) total() (all int) {
	for _, k := range n.waiting {
		all += k
	}
	return all
}

// complain says once that somebody could not be told.
func (n *announcer) complain(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil || n.failed {
		return
	}
	n.failed = true
	_, _ = fmt.Fprintf(n.app.Stderr, "bot-bottle: cannot tell you that a request waits: %s\n", printable(err.Error()))
}

// share has this terminal be one that an agent writes to, and we as well.
func (a *App) share() {
	if a.onTerminal() {
		a.screen = &sharedScreen{out: a.Stdout}
	}
}

// announceHere follows the bottle that this process has connected its operator with, until
// ctx ends.
func (a *App) announceHere(ctx context.Context, identity string) {
	var screen interface{ Announce(string) }
	if a.screen != nil {
		screen = a.screen
	}
	told, err := a.announcer(screen)
	if err != nil {
		return // launch has told of it
	}
	if running, err := a.supervised(ctx); err != nil || !slices.Contains(running, identity) {
		return
	}
	var each sync.WaitGroup
	defer each.Wait()
	news := func(all, news []requests.Shown) bool {
		tell := told.hear(ctx, identity, all, news)
		each.Go(func() { _ = tell() }) // the terminal is the agent's
		return ctx.Err() == nil
	}
	a.followOne(ctx, identity, news)
}

// plainScreen is a terminal that is only ours.
type plainScreen struct{ io.Writer }

// Announce writes at once.
func (p plainScreen) Announce(text string) { _, _ = io.WriteString(p, text) }

// sharedScreen is a terminal that an agent writes to. What we have to say comes where the agent is
// between two characters or sequences: within one it would be a part of it. It may be used
// concurrently.
type sharedScreen struct {
	out io.Writer

	mu      sync.Mutex
	state   sequence
	more    int // bytes of a character that are still to come
	pending string
}

// sequence is where in a terminal's input somebody is (ECMA-48, 5.4 and 5.6).
type sequence int

const (
	ground    sequence = iota
	escape             // after ESC
	designate          // after ESC and an intermediate byte
	csi                // within a control sequence
	str                // within a string: OSC, DCS, APC, PM, SOS
	strEscape          // after ESC in one
)

// Write implements io.Writer, for the agent's output.
func (s *sharedScreen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.out.Write(p)
	for _, b := range p[:n] {
		s.advance(b)
	}
	s.flush()
	return n, err
}

// Announce writes as soon as it can; a later one takes the place of one that still waits.
func (s *sharedScreen) Announce(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = text
	s.flush()
}

func (s *sharedScreen) flush() {
	if s.state == ground && s.more == 0 && s.pending != "" {
		_, _ = io.WriteString(s.out, s.pending)
		s.pending = ""
	}
}

func (s *sharedScreen) advance(b byte) {
	switch {
	case b == 0x18 || b == 0x1a: // CAN, SUB
		s.state, s.more = ground, 0
	case b == 0x1b && (s.state == str || s.state == strEscape):
		s.state = strEscape
	case b == 0x1b:
		s.state, s.more = escape, 0
	case s.state == strEscape && b == '\\', s.state == str && b == '\a':
		s.state = ground
	case s.state == strEscape, s.state == escape:
		s.state = afterEscape(b)
	case s.state == designate && b >= 0x30:
		s.state = ground
	case s.state == csi && b >= 0x40 && b <= 0x7e:
		s.state = ground
	case s.state == ground:
		s.more = remaining(b, s.more)
	}
}

func afterEscape(b byte) sequence {
	switch {
	case b == '[':
		return csi
	case strings.IndexByte("]P_^X", b) >= 0:
		return str
	case b >= 0x20 && b <= 0x2f:
		return designate
	}
	return ground
}

// remaining is how many bytes of a UTF-8 character are still to come.
func remaining(b byte, before int) int {
	switch {
	case b >= 0xf0:
		return 3
	case b >= 0xe0:
		return 2
	case b >= 0xc0:
		return 1
	case b >= 0x80 && before > 0:
		return before - 1
	}
	return 0
}
