package dashboard

import (
	"cmp"
	"context"
	"slices"
	"time"

	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// model is all of the dashboard. Bubble Tea calls it from one goroutine.
type model struct {
	ctx  context.Context
	o    Options
	feed *feed
	now  time.Time

	width, height int
	theme         theme

	bottles map[string]*known
	looking source // for bottles
	looked  bool
	traffic traffic

	panes  []pane
	at     int     // the pane in front
	chosen string  // the bottle that is selected in the agents pane
	wanted string  // the one to select as soon as it is there
	viewer *viewer // in front of the panes
	prompt *prompt // what the operator is asked
	search *textinput.Model
	narrow bool  // the panes' names are short, for want of room
	tabs   []int // where each pane's name begins on the first line
	notice notice
	tmux   tmux
}

// notice is what became of the last thing done.
type notice struct {
	text string
	bad  bool
	at   time.Time
}

// A pane is one view of the bottles.
type pane interface {
	name() string
	count(*model) (n int, needs bool) // what stands beside its name
	list() *list                      // nil if it has none
	draw(m *model, y, width, height int) []string
	keys(*model) []binding // those that can be used now
	press(m *model, key string) tea.Cmd
}

// binding is a key that does something now.
type binding struct{ key, what string }

func newModel(ctx context.Context, o Options, f *feed) *model {
	return &model{
		ctx: ctx, o: o, feed: f, now: o.Now(), width: 80, height: 24, theme: newTheme(true), bottles: map[string]*known{},
		panes: []pane{&agentsPane{}, &requestsPane{}, &trafficPane{rows: list{tail: true}}, &gitPane{}, &previewPane{}},
		tmux:  tmux{inside: o.Getenv("TMUX") != "", where: o.Open},
	}
}

// Init implements tea.Model.
func (m *model) Init() tea.Cmd {
	return tea.Batch(m.feed.next(m.ctx), tick(), tea.RequestBackgroundColor)
}

// ticked is that a second has passed: what is shown gets older.
type ticked time.Time

func tick() tea.Cmd { return tea.Tick(time.Second, func(t time.Time) tea.Msg { return ticked(t) }) }

// Update implements tea.Model.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	defer func() { m.feed.turn(m.front()) }()
	m.now = m.o.Now()
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = max(1, msg.Width), max(1, msg.Height)
	case tea.BackgroundColorMsg:
		m.theme = newTheme(msg.IsDark())
	case ticked:
		return m, tick()
	case batch:
		for _, news := range msg {
			m.take(news)
		}
		m.reconsider()
		return m, m.feed.next(m.ctx)
	case did:
		m.finish(msg)
		if msg.then != nil && msg.err == nil {
			return m, msg.then(m)
		}
	case tea.KeyPressMsg:
		return m, m.press(msg)
	case tea.PasteMsg:
		return m, m.paste(msg)
	case tea.MouseClickMsg:
		return m, m.click(msg.Mouse())
	case tea.MouseWheelMsg:
		m.wheel(msg.Mouse())
	}
	return m, nil
}

// front is the bottle whose screen is looked at.
func (m *model) front() string {
	switch m.panes[m.at].(type) {
	case *agentsPane, *previewPane:
		return m.chosen
	}
	return ""
}

// take notes what the feed tells.
func (m *model) take(news any) {
	switch n := news.(type) {
	case listed:
		m.list(n)
	case desked:
		if k := m.bottles[n.identity]; k != nil && n.err != nil {
			k.asking.lost(n.err, m.now)
		} else if k != nil {
			k.asking.heard()
			k.asked = sorted(n.identity, n.now.Requests)
		}
	case happened:
		if k := m.bottles[n.identity]; k != nil {
			k.tally.add(n.event, m.o.Prices)
			m.traffic.add(n.identity, n.event)
		}
	case logged:
		if k := m.bottles[n.identity]; k != nil && n.err != nil {
			k.log.lost(n.err, m.now)
		} else if k != nil {
			k.log.heard()
			k.tally = tally{} // it is told from the beginning
			m.traffic.forget(n.identity)
		}
	case screened:
		if k := m.bottles[n.identity]; k != nil {
			k.screen, k.noScreen = n.screen, n.err
		}
	}
}

// list takes over which bottles there are.
func (m *model) list(n listed) {
	m.looked = true
	if n.err != nil {
		m.looking.lost(n.err, m.now)
		if len(n.found) == 0 {
			return // what was known stays, and is stale
		}
	} else {
		m.looking.heard()
	}
	there := map[string]bool{}
	for _, f := range n.found {
		there[f.Slug] = true
		k := m.bottles[f.Slug]
		if k == nil {
			k = &known{noScreen: errLooking}
			m.bottles[f.Slug] = k
		}
		if f.Slug == m.wanted {
			m.chosen, m.wanted = f.Slug, ""
		}
		if k.Found = f; !f.Running {
			k.asked, k.screen = nil, Screen{}
		}
	}
	for identity := range m.bottles {
		if !there[identity] && n.err == nil {
			delete(m.bottles, identity)
		}
	}
}

// sorted are requests in the order in which they were asked. Which bottle they are of, the
// connection that they came on says, and nothing else.
func sorted(identity string, all []requests.Shown) []requests.Shown {
	all = slices.Clone(all)
	for i := range all {
		all[i].Bottle = identity
	}
	slices.SortStableFunc(all, func(a, b requests.Shown) int { return a.Asked.Compare(b.Asked) })
	return all
}

// reconsider takes a question back that is not about what there is any more.
func (m *model) reconsider() {
	if p := m.prompt; p != nil && p.still != nil && !p.still(m) {
		m.prompt = nil
		m.say(true, "it has changed meanwhile: look at it again")
	}
}

// request is one as it is now.
func (m *model) request(identity, id string) (requests.Shown, bool) {
	if k := m.bottles[identity]; k != nil {
		for _, s := range k.asked {
			if s.ID == id {
				return s, true
			}
		}
	}
	return requests.Shown{}, false
}

// ordered are the bottles, those first that need the operator.
func (m *model) ordered() []*known {
	all := make([]*known, 0, len(m.bottles))
	for _, k := range m.bottles {
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b *known) int {
		return cmp.Or(cmp.Compare(a.urgency(m.now), b.urgency(m.now)), cmp.Compare(a.Slug, b.Slug))
	})
	return all
}

// every request of every bottle, oldest first.
func (m *model) requests(want func(requests.Shown) bool) []requests.Shown {
	var all []requests.Shown
	for _, k := range m.bottles {
		for _, s := range k.asked {
			if want(s) {
				all = append(all, s)
			}
		}
	}
	slices.SortFunc(all, func(a, b requests.Shown) int { return cmp.Or(a.Asked.Compare(b.Asked), cmp.Compare(a.ID, b.ID)) })
	return all
}

func isPending(s requests.Shown) bool { return s.State == requests.Pending }

func (m *model) say(bad bool, text string) { m.notice = notice{said(onOneLine(text)), bad, m.now} }

// lookAgain is for a key that came right after the selection had moved by itself.
func (m *model) lookAgain() { m.say(true, "the selection has just moved: look, and press again") }

// did is that something was done, or was not.
type did struct {
	what string
	err  error
	then func(*model) tea.Cmd
}

// act does something that takes a while, and tells what became of it.
func (m *model) act(what string, do func(context.Context) error) tea.Cmd {
	m.say(false, what+" …")
	return func() tea.Msg { return did{what: what, err: do(m.ctx)} }
}

func (m *model) finish(d did) {
	m.feed.seek()
	if d.err != nil {
		m.say(true, d.what+": "+d.err.Error())
		return
	}
	if m.notice = (notice{}); d.then == nil {
		m.say(false, d.what+": done")
	}
}
