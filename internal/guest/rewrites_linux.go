package guest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/control"
)

// maxRewrites bounds what leads git to the gate.
const maxRewrites = 1 << 20

// followRewrites keeps the file by which the bottle's git finds the repositories that are granted
// now: the gate says what is in it, since no file of the host's is seen in a machine.
func (m *machine) followRewrites(ctx context.Context) {
	gate := socket{dir: m.o.SocketDir, name: control.GitGate, serves: m.serves}
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return gate.dial(ctx) }, DisableKeepAlives: true,
	}}
	known := "none"
	for ctx.Err() == nil {
		text, version, err := askRewrites(ctx, client, known)
		if err == nil && version != known {
			if err = m.writeRewrites(text); err == nil {
				known = version
				continue
			}
		}
		pause := 50 * time.Millisecond
		if err != nil {
			pause = time.Second
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

func askRewrites(ctx context.Context, client *http.Client, known string) (text []byte, version string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, control.GateURL+control.RewritesPath+"?known="+url.QueryEscape(known), nil)
	if err != nil {
		return nil, "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, "", fmt.Errorf("git-gate answered %s", response.Status)
	}
	text, err = io.ReadAll(io.LimitReader(response.Body, maxRewrites))
	return text, response.Header.Get("ETag"), err
}

// writeRewrites replaces the file in one step.
func (m *machine) writeRewrites(text []byte) error {
	const tmp = control.GitRewrites + ".new"
	if err := m.sockets.WriteFile(tmp, text, 0o644); err != nil {
		return err
	}
	return m.sockets.Rename(tmp, control.GitRewrites)
}
