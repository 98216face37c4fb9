package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/plain"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// operator is the control API: it changes what the egress service goes by, and what it
// will go by should it crash. It is the only holder of the current configuration and of
// what is granted beside it.
type operator struct {
	bottle string
	egress *service
	gate   *service // nil: none runs
	log    *log

	mayGate   bool                      // the bottle may have a gate
	startGate func(config []byte) error // starts it, and waits until it listens

	git      control.GitConfig                // as the manifest has it
	keys     map[string]control.GitRepository // what reaches granted repositories, by request; the rest of each is not set
	rewrites string                           // where the bottle's git reads which are granted

	mu       sync.Mutex
	revision int                  // of the configuration
	config   control.EgressConfig // the operator's own, without grants
	ledger   *requests.Ledger
	supplied map[string]control.Secret // with grants, by request
	diffs    map[string]string         // of pushes that wait, by request
	pushed   []control.Pushed          // the last ones that the upstream has
	asked    int                       // revision of the ledger
	changed  chan struct{}             // closed when asked goes up

	meters atomic.Pointer[control.MetersClient] // to the egress that runs; nil before the first

	over []requests.Request // grants that ended between two runs, to be recorded

	counting sync.Mutex
	uses     audit.Uses    // of grants, by egress; those that the ledger does not have yet
	pushes   audit.Uses    // the same by git-gate
	arrived  []string      // approved pushes that are upstream, where the ledger may not have that yet
	wake     chan struct{} // something is to be done about the grants
}

var _ control.API = (*operator)(nil)

// newOperator connects the control API with the services.
func newOperator(c control.BundleConfig, services []*service, out *log) *operator {
	_, suffix, _ := cutLast(c.Bottle, "-")
	o := &operator{
		bottle: c.Bottle, log: out, revision: 1, config: *c.Egress,
		ledger: requests.New(suffix), changed: make(chan struct{}), supplied: make(map[string]control.Secret), diffs: make(map[string]string), wake: make(chan struct{}, 1),
	}
	o.declare(c.Git)
	for _, s := range services {
		o.attach(s)
	}
	o.over = o.ledger.Load(time.Now(), c.Requests)
	if data, err := o.document(o.config); err == nil && o.egress != nil && len(o.grants()) > 0 {
		o.egress.config = data // it has not started
		if data, err := o.gateDocument(); err == nil && o.gate != nil {
			o.gate.config = data
		}
	}
	return o
}

// attach connects a service, before it is started.
func (o *operator) attach(s *service) {
	switch s.name {
	case control.Egress:
		o.egress, s.heard, s.lost = s, o.hear, o.lost
		s.talk = func(_ context.Context, link net.Conn) {
			client := control.NewMetersClient(link)
			o.meters.Store(&client)
		}
	case control.Supervise:
		s.talk = func(ctx context.Context, link net.Conn) { control.ServeCounter(ctx, link, o) }
	case control.GitGate:
		o.gate, s.heard, s.lost = s, o.hearGate, o.lostGate
		s.talk = func(ctx context.Context, link net.Conn) { control.ServeHolder(ctx, link, o) }
	}
}

// cutLast is strings.Cut at the last separator.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return "", s, false
}

// Policy implements control.API.
func (o *operator) Policy() control.Policy {
	left := o.left(context.Background())
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	now.Left = left
	return now
}

// left is what is left of the limits, nil if egress cannot say. It is asked with nothing locked:
// an egress that is slow to answer must not keep the operator from deciding.
func (o *operator) left(ctx context.Context) []policy.Left {
	client := o.meters.Load()
	if client == nil {
		return nil
	}
	left, err := client.Left(ctx)
	if err != nil {
		return nil
	}
	return left
}

func (o *operator) now() control.Policy {
	names := make([]string, 0, len(o.config.Secrets))
	for _, s := range o.config.Secrets {
		names = append(names, s.Name)
	}
	return control.Policy{Revision: o.revision, Policy: o.config.Policy(), Secrets: names, Grants: o.grants()}
}

// SetPolicy implements control.API.
func (o *operator) SetPolicy(revision int, p policy.Policy) (control.Policy, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if revision != o.revision {
		return control.Policy{}, control.ErrConflict
	}
	what := fmt.Sprintf("the operator changed the policy: %s and %s before, %d and %d now", plain.Count(len(o.config.Routes), "route"),
		plain.Count(len(o.config.Deny), "deny rule"), len(p.Routes), len(p.Deny))
	if err := o.change(o.config.WithPolicy(p), what); err != nil {
		return control.Policy{}, err
	}
	return o.now(), nil
}

// SetSecrets implements control.API.
func (o *operator) SetSecrets(values []control.NewValue) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	next := o.config
	next.Secrets = slices.Clone(o.config.Secrets)
	for _, v := range values {
		i := slices.IndexFunc(next.Secrets, func(s control.Secret) bool { return s.Name == v.Name })
		if i < 0 {
			return fmt.Errorf("the bottle has no secret %q", v.Name)
		}
		next.Secrets[i].Value = v.Value
	}
	o.lookFor(next.Secrets...)
	return o.change(next, "the operator replaced the values of "+plain.Count(len(values), "secret"))
}

// change puts a configuration in force, or leaves all as it was.
func (o *operator) change(next control.EgressConfig, what string) error {
	data, err := o.document(next)
	if err != nil {
		return err
	}
	if err := o.egress.change(data); err != nil {
		return err
	}
	o.config = next
	o.revision++
	o.tell() // what is shown of a request is a difference to the policy
	o.log.record(string(control.Egress), audit.Event{Kind: audit.Lifecycle, Reason: what})
	return nil
}

// document is what egress is to go by: the operator's policy, and what is granted.
func (o *operator) document(c control.EgressConfig) ([]byte, error) {
	c.Secrets = slices.Clone(c.Secrets)
	for _, id := range slices.Sorted(maps.Keys(o.supplied)) {
		c.Secrets = append(c.Secrets, o.supplied[id])
	}
	c.Used = o.ledger.Used()
	return json.Marshal(c.WithPolicy(o.ledger.Effective(c.Policy())))
}

// has reports whether the bottle has a secret of this name.
func (o *operator) has(name string) bool {
	named := func(s control.Secret) bool { return s.Name == name }
	return slices.ContainsFunc(o.config.Secrets, named) || slices.ContainsFunc(slices.Collect(maps.Values(o.supplied)), named)
}

// listenControl makes the control API's socket, for root alone.
func listenControl(path string) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot make socket %s: %w", path, err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("cannot make socket %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil { // its directory lets nobody else in meanwhile
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// lasting is a listener that, closed, takes no connections, and whose socket stays.
type lasting struct{ *net.UnixListener }

// Close implements net.Listener.
func (l lasting) Close() error { return l.SetDeadline(time.Unix(1, 0)) }

// serve answers the host until ctx ends.
func (o *operator) serve(ctx context.Context, l net.Listener) {
	server := &http.Server{Handler: control.Handler(o), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	_ = server.Serve(l)
	_ = server.Close()
}

// Connect carries the host's bytes to the control API of the bundle beside it, and the
// answer back, until the answer ends.
func Connect(ctx context.Context, socket string, stdin io.Reader, stdout io.Writer) error {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	go func() { _, _ = io.Copy(conn, stdin) }() // ends with the process, if not before
	_, err = io.Copy(stdout, conn)
	return err
}
