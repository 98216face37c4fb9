package guest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// policy asks egress which names and ports exist now.
type policy struct{ client *http.Client }

// egressHost is what egress is called on its own socket.
const egressHost = "egress.bot-bottle"

func newPolicy(s socket) policy {
	return policy{&http.Client{Transport: &http.Transport{
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return s.dial(ctx) },
		MaxIdleConns:    4,
		IdleConnTimeout: time.Minute,
	}}}
}

// lookup asks whether a name exists.
func (p policy) lookup(ctx context.Context, name string) (bool, error) {
	var answer struct {
		Allowed bool `json:"allowed"`
	}
	err := p.get(ctx, "/.bot-bottle/v1/lookup?name="+url.QueryEscape(name), &answer)
	return answer.Allowed, err
}

// ports asks for the ports of a revision other than rev, and waits for one.
func (p policy) ports(ctx context.Context, rev int) (ports []int, now int, err error) {
	var answer struct {
		Rev   int   `json:"rev"`
		Ports []int `json:"ports"`
	}
	err = p.get(ctx, "/.bot-bottle/v1/ports?rev="+strconv.Itoa(rev), &answer)
	return answer.Ports, answer.Rev, err
}

// ended says that the agent has ended, where the guest goes on: its services are of no more use.
func (p policy) ended(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+egressHost+"/.bot-bottle/v1/ended", nil)
	if err != nil {
		return err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

func (p policy) get(ctx context.Context, path string, answer any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+egressHost+path, nil)
	if err != nil {
		return err
	}
	response, err := p.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("egress answered %s", response.Status)
	}
	return json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(answer)
}
