// Package gitgate is a bottle's way to its repositories: git's smart HTTP on the bottle's
// git-gate socket, in front of one bare mirror for each repository that the operator
// declared.
//
// A fetch brings the mirror up to date with the gate's own credential first. A push is
// taken into git's quarantine (git-receive-pack(1)), where its refs, every new object and
// every changed path are checked, and only the object ids that were checked go to the
// upstream, if its refs are still where they were. What cannot be checked is refused.
//
// The client is hostile, and so is every byte of what it pushes: nothing that the gate
// runs may take an option, a program or a configuration from there. A credential must
// never be in an argument list, an environment, a message or a log.
package gitgate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/dlp"
)

// Options say where a gate works. All are needed.
type Options struct {
	Dir    string // for mirrors and held pushes; kept between runs
	Keys   string // for credentials; in memory
	Self   string // our own executable, which git runs as its hook
	Events *audit.Writer
	Log    *slog.Logger
	Holder control.Holder  // takes pushes that wait for the operator
	Gone   <-chan struct{} // closed when Holder can be asked nothing more; nil for never
}

// Server is a bottle's git-gate.
type Server struct {
	Options
	config     control.GitConfig
	mu         sync.RWMutex       // for the next four
	mirrors    map[string]*mirror // by place
	all        []*mirror
	known      []string // values that no message may repeat
	leads      *leads
	hooks      *hooks
	places     *places
	parked     chan *held
	unattended chan struct{}    // closed when nobody takes from parked any more
	parking    sync.Mutex       // for the next, and for what is in the directories of held pushes
	waiting    map[string]*held // pushes of which something is still to become, by directory
	pushed     chan pushed      // the upstream has them
	volume     *volume
	untidy     chan struct{}
	visits     visits

	checks   atomic.Pointer[checker] // by what is known now
	patience time.Duration           // with a client that neither sends nor reads
}

// How many connections there may be, and for how long the gate waits for its client. More wait in the
// listener's queue: what a bottle makes us hold is its bundle's memory, or the host's.
const (
	maxConnections = 256
	headTimeout    = 30 * time.Second
	idleTimeout    = 5 * time.Minute // between requests
	stallTimeout   = 2 * time.Minute // within one
)

// New makes the gate of one bottle.
func New(config control.GitConfig, o Options) (*Server, error) {
	checker, err := newChecker(config)
	if err != nil {
		return nil, err
	}
	s := &Server{Options: o, config: config, places: newPlaces(), parked: make(chan *held), unattended: make(chan struct{}), waiting: make(map[string]*held), untidy: make(chan struct{}, 1), pushed: make(chan pushed, 16), patience: stallTimeout, volume: &volume{dir: o.Dir, most: maxVolume}, leads: newLeads(config.Rewrites)}
	s.checkWith(checker)
	if s.hooks, err = newHooks(o); err != nil {
		return nil, err
	}
	for _, r := range config.Repositories {
		m, err := newMirror(r, config, o, s.volume)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("repository %s: %w", r.Name, err), s.hooks.close())
		}
		s.all = append(s.all, m)
	}
	s.put(s.all)
	return s, nil
}

// errGone ends the gate, to be started again with a connection that works.
var errGone = errors.New("the connection to the bundle has ended")

// Serve serves l until ctx ends, and closes it; with an error if the parent is gone.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var working sync.WaitGroup
	defer s.hangUp()
	defer s.farewell()
	defer working.Wait()
	defer cancel()
	working.Go(func() { s.hooks.serve(ctx) })
	working.Go(func() { s.warm(ctx) })
	left := s.leftHeld() // before another one comes
	working.Go(func() { s.attend(ctx, left) })
	working.Go(func() { s.keepTidy(ctx) })
	working.Go(func() { s.showPushed(ctx) })
	server := &http.Server{
		Handler: s, ReadHeaderTimeout: headTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: 16 << 10,
		ErrorLog:    slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx }, ConnContext: s.enter, ConnState: s.left,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(netutil.LimitListener(l, maxConnections)) }()
	var why error
	select {
	case err := <-ended:
		return err
	case <-s.Gone:
		why = errGone
	case <-ctx.Done():
	}
	_ = server.Close()
	<-ended
	return why
}

// warm fetches what the agent will ask for first. Should it fail, the agent is told when it
// asks.
func (s *Server) warm(ctx context.Context) {
	for _, m := range s.repositories() {
		if err := m.refresh(ctx, time.Now()); err != nil && ctx.Err() == nil {
			s.Log.Info("an upstream could not be mirrored yet", "repository", m.Name, "err", err)
		}
	}
}

// hangUp ends the connections to upstreams. One that something is still forwarded on ends with
// our process.
func (s *Server) hangUp() {
	for _, m := range s.repositories() {
		if m.mu.TryLock() {
			m.line.end()
			m.mu.Unlock()
		}
	}
}

// place cuts a request's path into a repository's place and what is asked of it.
func (s *Server) place(path string) (m *mirror, place, rest string) {
	path = strings.Trim(path, "/")
	for _, end := range []string{"info/refs", "git-upload-pack", "git-receive-pack"} {
		if found, ok := strings.CutSuffix(path, "/"+end); ok {
			return s.find(found), found, end
		}
	}
	if found, rest, ok := strings.Cut(path, "/info/lfs"); ok {
		return s.find(found), found, "info/lfs" + rest
	}
	return s.find(path), path, ""
}

// find looks a repository up, as git names it.
func (s *Server) find(place string) *mirror {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mirrors[strings.ToLower(strings.TrimSuffix(strings.Trim(place, "/"), ".git"))]
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch strings.Trim(r.URL.Path, "/") {
	case strings.Trim(control.AlivePath, "/"):
		w.WriteHeader(http.StatusNoContent)
		return
	case control.RewritesPath:
		s.serveRewrites(w, r)
		return
	}
	m, place, rest := s.place(r.URL.Path)
	if m == nil {
		s.undeclared(w, place)
		return
	}
	ctx, cancel := m.within(r.Context())
	defer cancel()
	r = r.WithContext(ctx)
	switch {
	case strings.HasPrefix(rest, "info/lfs"):
		noLFS(w)
	case rest == "info/refs" && r.Method == http.MethodGet:
		s.advertise(w, r, m)
	case rest == uploadPack && r.Method == http.MethodPost:
		s.fetch(w, r, m)
	case rest == receivePack && r.Method == http.MethodPost:
		s.push(w, r, m)
	default:
		refuse(w, http.StatusForbidden, "this gate speaks git's smart HTTP and nothing else")
	}
}

// The two services of git (gitprotocol-http(5)).
const (
	uploadPack  = "git-upload-pack"
	receivePack = "git-receive-pack"
)

// refuse answers with a text that git shows its user.
func refuse(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, text)
}

func (s *Server) undeclared(w http.ResponseWriter, place string) {
	place = cut(s.checks.Load().clean(place), 200)
	_ = s.Events.Write(audit.Event{
		Time: time.Now(), Bottle: s.config.Bottle, Service: string(control.GitGate), Kind: audit.Fetch, Decision: audit.Deny,
		Repository: place, Reason: "the repository is not declared",
	})
	refuse(w, http.StatusForbidden, fmt.Sprintf("bot-bottle: %s is not one of this bottle's repositories (%s).\n%s", place, s.names(), s.howToAsk(fmt.Sprintf(`{"repository":%q}`, urlOf(place)))))
}

// repositories are all that there are now.
func (s *Server) repositories() []*mirror {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.all
}

func (s *Server) names() string {
	var all []string
	for _, m := range s.repositories() {
		all = append(all, m.Name)
	}
	if len(all) == 0 {
		return "it has none"
	}
	return strings.Join(all, ", ")
}

// noLFS answers the batch API (git-lfs's docs/api/batch.md): what LFS carries would not be
// scanned.
func noLFS(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/vnd.git-lfs+json")
	w.WriteHeader(http.StatusNotImplemented)
	_, _ = fmt.Fprintln(w, `{"message":"bot-bottle: git LFS does not pass the gate. Commit the file itself, or leave it out."}`)
}

// advertise answers a client's first question: what refs there are, as the upstream has
// them now.
func (s *Server) advertise(w http.ResponseWriter, r *http.Request, m *mirror) {
	service := r.URL.Query().Get("service")
	if service != uploadPack && service != receivePack {
		refuse(w, http.StatusForbidden, "bot-bottle: this git is too old: the gate speaks smart HTTP (git 1.6.6 and later)")
		return
	}
	started := time.Now()
	release, err := s.places.take(r.Context(), m)
	if err != nil {
		return
	}
	defer release()
	if err := m.refresh(r.Context(), started); err != nil {
		if isNoRoom(err) {
			s.tidy()
		}
		text := s.mask(explain(err, "does not answer"))
		s.record(audit.Event{Time: started, Kind: audit.Fetch, Decision: audit.Deny, Repository: m.Name, Reason: "the upstream " + text, Millis: millis(started)})
		refuse(w, http.StatusBadGateway, "bot-bottle: the upstream of "+m.Name+" "+text)
		return
	}
	if service == uploadPack {
		s.visitOf(r.Context()).shown(m, started, millis(started))
	}
	s.backend(w, r, m, backendCall{path: "info/refs", query: "service=" + service})
}

// fetch answers with objects.
func (s *Server) fetch(w http.ResponseWriter, r *http.Request, m *mirror) {
	release, err := s.places.take(r.Context(), m)
	if err != nil {
		return
	}
	defer release()
	started := time.Now()
	asked, said := newWanted(), newPackHead()
	in, out := s.backend(w, r, m, backendCall{path: uploadPack, asked: asked, said: said})
	s.visitOf(r.Context()).served(m, started, asked, said, in, out)
}

func millis(since time.Time) float64 {
	return float64(time.Since(since).Microseconds()) / 1000
}

func (s *Server) record(e audit.Event) {
	e.Bottle, e.Service = s.config.Bottle, string(control.GitGate)
	_ = s.Events.Write(e) // the parent notices a service that cannot
}

// checkWith has pushes checked by c from now on. The caller has the lock, or the server for itself.
func (s *Server) checkWith(c *checker) {
	for _, v := range c.by.Known {
		s.hide(v.Value)
	}
	s.checks.Store(c)
}

// hide makes mask take a value out.
func (s *Server) hide(value string) {
	if len(value) >= dlp.MinKnown && !slices.Contains(s.known, value) {
		s.known = append(s.known, value)
	}
}

// mask takes values out of what an upstream said (ATTACKS C3).
func (s *Server) mask(text string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, value := range s.known {
		text = strings.ReplaceAll(text, value, "[masked]")
	}
	return s.checks.Load().clean(text)
}

// writeFile writes a file of the gate's own.
func writeFile(path, content string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, []byte(content), mode)
}
