package guest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// transparent carries connections to a name's address to egress, as a CONNECT to that
// name, for programs that know nothing of a proxy.
type transparent struct {
	socket  socket
	names   *names
	log     *slog.Logger
	serving sync.WaitGroup
	open    map[int]net.Listener
}

// always are the ports that are open whatever the policy names.
func always() []int { return []int{80, 443} }

// taken are the guest's own, on which a wildcard listener would be in the way.
func taken() []int { return []int{53, 3128, 7717, 9418} }

// listen opens a port on every address.
func (t *transparent) listen(ctx context.Context, port int) error {
	l, err := net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", port))
	if err != nil {
		return fmt.Errorf("cannot listen for connections to port %d: %w", port, err)
	}
	t.open[port] = l
	t.serving.Go(func() {
		accept(ctx, l, t.log, func(ctx context.Context, conn *net.TCPConn) { t.handle(ctx, conn, port) })
	})
	return nil
}

// follow opens and closes ports as the policy changes. An agent's own server may sit
// on one of them; that port is tried again at the next change.
func (t *transparent) follow(ctx context.Context, p policy) {
	rev := 0
	for ctx.Err() == nil {
		ports, now, err := p.ports(ctx, rev)
		if err != nil {
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			continue
		}
		rev = now
		t.update(ctx, ports)
	}
}

func (t *transparent) update(ctx context.Context, ports []int) {
	for port, l := range t.open {
		if !slices.Contains(ports, port) && !slices.Contains(always(), port) {
			_ = l.Close()
			delete(t.open, port)
		}
	}
	for _, port := range ports {
		if t.open[port] != nil || slices.Contains(taken(), port) {
			continue
		}
		if err := t.listen(ctx, port); err != nil {
			t.log.Warn("port not opened", "port", port, "err", err)
		}
	}
}

func (t *transparent) close() {
	for _, l := range t.open {
		_ = l.Close()
	}
	t.serving.Wait()
}

// handle carries one connection. The address that it was made to says the name.
func (t *transparent) handle(ctx context.Context, client *net.TCPConn, port int) {
	local, ok := client.LocalAddr().(*net.TCPAddr)
	if !ok {
		return
	}
	name, ok := t.names.name(local.AddrPort().Addr())
	if !ok {
		return // 127.0.0.1 and the like: nobody is there
	}
	service, err := t.socket.dial(ctx)
	if err != nil {
		t.log.Info("service not reached", "service", t.socket.name, "err", err)
		return
	}
	defer func() { _ = service.Close() }()
	if err := connect(ctx, service, client, name, port); err != nil {
		t.log.Info("connection refused", "host", name, "port", port, "err", err)
		return
	}
	join(ctx, client, service)
}

// connectTimeout bounds egress's answer to a CONNECT; it dials after answering.
const connectTimeout = 30 * time.Second

// connect asks egress for a tunnel. A refusal goes to the client where it may be
// speaking HTTP in clear, and can read it.
func connect(ctx context.Context, service net.Conn, client *net.TCPConn, name string, port int) error {
	defer context.AfterFunc(ctx, func() { _ = service.Close() })()
	_ = service.SetDeadline(time.Now().Add(connectTimeout))
	if _, err := fmt.Fprintf(service, "CONNECT %s:%d HTTP/1.1\r\nHost: %s:%d\r\n\r\n", name, port, name, port); err != nil {
		return err
	}
	head, err := readHead(service)
	if err != nil {
		return err
	}
	whole := bufio.NewReader(io.MultiReader(bytes.NewReader(head), service))
	response, err := http.ReadResponse(whole, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		if port == 80 {
			response.Close = true
			reply(client, response.Write)
		}
		return fmt.Errorf("egress answered %s", response.Status)
	}
	return service.SetDeadline(time.Time{})
}

// maxHead bounds egress's answer.
const maxHead = 8 << 10

// readHead reads up to the empty line and not a byte more: what follows a 200 is the
// tunnel's, and a server may speak first.
func readHead(r io.Reader) ([]byte, error) {
	var head []byte
	var b [1]byte
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		if len(head) > maxHead {
			return nil, errors.New("egress's answer is too long")
		}
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return nil, err
		}
		head = append(head, b[0])
	}
	return head, nil
}
