// Package notify tells an operator who looks elsewhere that a request waits: by the desktop, a
// command, a webhook.
//
// What it sends is machine-made: which bottle, which request, of what kind. It must never hold a
// secret, nor a word, a name or a host of an agent's choice: those are looked at where they are
// shown apart.
package notify

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/hostcmd"
)

// Notice is that a request waits. All of it is ours: Bottle is an identity, Request an id, Kind
// one of package requests.
type Notice struct {
	Bottle  string `json:"bottle"`
	Request string `json:"request"`
	Kind    string `json:"kind"`
	Waiting int    `json:"waiting"` // in this bottle
}

// Title and Text are for people.
const Title = "bot-bottle"

// Text is one line.
func (n Notice) Text() string {
	more := ""
	if n.Waiting > 1 {
		more = fmt.Sprintf(", %d wait", n.Waiting)
	}
	return fmt.Sprintf("%s asks its operator (%s %s%s)", n.Bottle, n.Kind, n.Request, more)
}

// Sender sends notices.
type Sender struct {
	Desktop bool
	OS      string // runtime.GOOS
	Command []string
	Webhook string
	Env     []string // of the programs that are run

	limit time.Duration // of all ways; 0 for the usual
}

// timeLimit bounds a notice: nobody waits for one.
const timeLimit = 10 * time.Second

// Send sends a notice every way that there is, and reports those that failed. No way waits for
// another one.
func (s Sender) Send(ctx context.Context, n Notice) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(s.limit, timeLimit))
	defer cancel()
	var failed [3]error
	var ways sync.WaitGroup
	if argv := s.desktop(n); len(argv) > 0 {
		ways.Go(func() { failed[0] = s.run(ctx, argv, n) })
	}
	if len(s.Command) > 0 {
		ways.Go(func() { failed[1] = s.run(ctx, s.Command, n) })
	}
	if s.Webhook != "" {
		ways.Go(func() { failed[2] = s.post(ctx, n) })
	}
	ways.Wait()
	return errors.Join(failed[:]...)
}

// desktop is the program that shows a notice, if any does here.
func (s Sender) desktop(n Notice) []string {
	switch {
	case !s.Desktop:
		return nil
	case s.OS == "darwin":
		return []string{"osascript", "-e", fmt.Sprintf("display notification %q with title %q", n.Text(), Title)}
	}
	return []string{"notify-send", "--app-name=" + Title, "--", Title, n.Text()}
}

func (s Sender) run(ctx context.Context, argv []string, n Notice) error {
	env := append(append([]string{}, s.Env...),
		"BOT_BOTTLE_MESSAGE="+n.Text(), "BOT_BOTTLE_BOTTLE="+n.Bottle, "BOT_BOTTLE_REQUEST="+n.Request, "BOT_BOTTLE_KIND="+n.Kind)
	_, err := hostcmd.Command{Argv: argv, Env: env, Most: 64 << 10}.Output(ctx)
	return err
}

// post sends the notice as JSON; text is where chats look for what to show. The URL may hold a
// token, so no error has it.
func (s Sender) post(ctx context.Context, n Notice) error {
	body, err := json.Marshal(struct {
		Text string `json:"text"`
		Notice
	}{n.Text(), n})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Webhook, bytes.NewReader(body))
	if err != nil {
		return errors.New("the webhook's URL cannot be used")
	}
	request.Header.Set("Content-Type", "application/json")
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if failed := (*url.Error)(nil); errors.As(err, &failed) {
		return fmt.Errorf("the webhook at %s cannot be reached: %w", request.URL.Hostname(), failed.Err)
	}
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	if response.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("the webhook at %s answered %d", request.URL.Hostname(), response.StatusCode)
	}
	return nil
}
