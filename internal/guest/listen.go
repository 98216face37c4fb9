package guest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"github.com/miekg/dns"

	"github.com/bot-bottle/bot-bottle/internal/control"
)

// listeners is everything that the guest answers on.
type listeners struct {
	tcp         []net.Listener
	dns         []*dns.Server
	transparent *transparent
	serving     sync.WaitGroup
	cancel      context.CancelFunc
	once        sync.Once
}

// listen binds everything, or nothing: a bottle whose agent would find a listener
// missing does not start (ATTACKS A16).
func listen(ctx context.Context, dir string, log *slog.Logger) (*listeners, error) {
	return listenFor(ctx, dir, log, func(control.Service) bool { return true })
}

// listenFor knows which services there are: where all have a socket, one that leads nowhere
// cannot be told from one whose service is busy.
func listenFor(ctx context.Context, dir string, log *slog.Logger, serves func(control.Service) bool) (_ *listeners, err error) {
	ctx, cancel := context.WithCancel(ctx)
	ls := &listeners{cancel: cancel}
	defer func() {
		if err != nil {
			ls.close()
		}
	}()
	egress := socket{dir: dir, name: control.Egress, grace: startGrace}
	for address, service := range relays() {
		s := socket{dir: dir, name: service, serves: serves}
		if service == control.Egress {
			s = egress
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, fmt.Errorf("cannot listen for %s: %w", service, err)
		}
		ls.tcp = append(ls.tcp, l)
		ls.serving.Go(func() { accept(ctx, l, log, relay(s, log)) })
	}
	asked, table := newPolicy(egress), newNames()
	if err := ls.serveDNS(&resolver{lookup: asked.lookup, names: table, log: log}); err != nil {
		return nil, err
	}
	ls.transparent = &transparent{socket: egress, names: table, log: log, open: map[int]net.Listener{}}
	for _, port := range always() {
		if err := ls.transparent.listen(ctx, port); err != nil {
			ls.transparent.close()
			return nil, err
		}
	}
	ls.serving.Go(func() { ls.transparent.follow(ctx, asked); ls.transparent.close() })
	return ls, nil
}

func (ls *listeners) serveDNS(r *resolver) (err error) {
	if ls.dns, err = dnsServers(r); err != nil {
		return err
	}
	for _, server := range ls.dns {
		up := make(chan struct{})
		server.NotifyStartedFunc = func() { close(up) }
		ls.serving.Go(func() {
			if err := server.ActivateAndServe(); err != nil && !errors.Is(err, net.ErrClosed) {
				r.log.Error("DNS ended", "err", err)
			}
		})
		<-up // Shutdown before that would do nothing
	}
	return nil
}

// close ends everything and waits for it. It may be repeated.
func (ls *listeners) close() { ls.once.Do(ls.end) }

func (ls *listeners) end() {
	ls.cancel()
	for _, l := range ls.tcp {
		_ = l.Close()
	}
	for _, server := range ls.dns {
		_ = server.Shutdown()
	}
	ls.serving.Wait()
}
