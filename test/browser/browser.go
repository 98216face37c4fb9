// Package browser opens pages in a headless Chromium, for tests that must know what a
// browser makes of them: what it asks for, what it complains of, how it lays them out.
package browser

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/coder/websocket"
)

// ErrMissing says that there is no browser here.
var ErrMissing = errors.New("there is no chromium: scripts/setup --test installs it")

// Browser is a running one. It is for one goroutine.
type Browser struct {
	process *exec.Cmd
	profile string
	conn    *websocket.Conn
	session string
	calls   int
	events  []Event
}

// Event is what the browser said by itself.
type Event struct {
	Method string
	Params json.RawMessage
}

// Start starts one, with a profile of its own. The caller closes it.
func Start(ctx context.Context) (_ *Browser, err error) {
	program, err := find()
	if err != nil {
		return nil, err
	}
	b := &Browser{}
	if b.profile, err = os.MkdirTemp("", "bot-bottle-browser-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = b.Close()
		}
	}()
	// Without its sandbox, since that does not work for root; it opens our own pages only.
	b.process = exec.Command(program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions", "--disable-background-networking",
		"--hide-scrollbars", "--user-data-dir="+b.profile, "--remote-debugging-port=0", "about:blank")
	stderr, err := b.process.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := b.process.Start(); err != nil {
		return nil, err
	}
	address, err := listening(stderr)
	if err != nil {
		return nil, err
	}
	if b.conn, _, err = websocket.Dial(ctx, address, nil); err != nil {
		return nil, err
	}
	b.conn.SetReadLimit(64 << 20)
	return b, b.attach(ctx)
}

func find() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrMissing
}

// listening reads where the browser can be talked to.
func listening(stderr interface{ Read([]byte) (int, error) }) (string, error) {
	lines := bufio.NewScanner(stderr)
	var last string
	for lines.Scan() {
		last = lines.Text()
		if _, address, ok := strings.Cut(last, "DevTools listening on "); ok {
			go func() {
				for lines.Scan() { // or it would stop at a full pipe
				}
			}()
			return address, nil
		}
	}
	return "", fmt.Errorf("the browser does not start: %s", last)
}

func (b *Browser) attach(ctx context.Context) error {
	var target struct{ TargetID string }
	if err := b.Call(ctx, "Target.createTarget", map[string]any{"url": "about:blank"}, &target); err != nil {
		return err
	}
	var session struct{ SessionID string }
	if err := b.Call(ctx, "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &session); err != nil {
		return err
	}
	b.session = session.SessionID
	for _, domain := range []string{"Page", "Network", "Runtime", "Log", "Security"} {
		if err := b.Call(ctx, domain+".enable", nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// Call asks the browser for something, in the words of the DevTools protocol. Events that
// come meanwhile are kept.
func (b *Browser) Call(ctx context.Context, method string, params, result any) error {
	b.calls++
	id := b.calls
	data, err := json.Marshal(struct {
		ID        int    `json:"id"`
		Session   string `json:"sessionId,omitempty"`
		Method    string `json:"method"`
		Parameter any    `json:"params,omitempty"`
	}{id, b.session, method, params})
	if err != nil {
		return err
	}
	if err := b.conn.Write(ctx, websocket.MessageText, data); err != nil {
		return err
	}
	for {
		answer, err := b.next(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", method, err)
		}
		if answer.ID != id {
			continue
		}
		if answer.Error != nil {
			return fmt.Errorf("%s: %s", method, answer.Error.Message)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(answer.Result, result)
	}
}

type message struct {
	ID     int
	Method string
	Params json.RawMessage
	Result json.RawMessage
	Error  *struct{ Message string }
}

func (b *Browser) next(ctx context.Context) (message, error) {
	var m message
	_, data, err := b.conn.Read(ctx)
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err == nil && m.Method != "" {
		b.events = append(b.events, Event{m.Method, m.Params})
	}
	return m, err
}

// Look says how a page is to be looked at.
type Look struct {
	Width, Height int
	Dark, Print   bool
}

// Open loads a page and returns what the browser said of it meanwhile.
func (b *Browser) Open(ctx context.Context, url string, look Look) ([]Event, error) {
	scheme, media := "light", ""
	if look.Dark {
		scheme = "dark"
	}
	if look.Print {
		media = "print"
	}
	b.events = nil
	if err := errors.Join(
		b.Call(ctx, "Emulation.setDeviceMetricsOverride", map[string]any{"width": look.Width, "height": look.Height, "deviceScaleFactor": 1, "mobile": false}, nil),
		b.Call(ctx, "Emulation.setEmulatedMedia", map[string]any{"media": media, "features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil),
		b.Call(ctx, "Page.navigate", map[string]any{"url": url}, nil),
	); err != nil {
		return nil, err
	}
	for !b.saw("Page.loadEventFired") {
		if _, err := b.next(ctx); err != nil {
			return nil, err
		}
	}
	// What a page does a moment later would come before the answer to this.
	return b.events, b.Call(ctx, "Runtime.evaluate", map[string]any{"expression": "new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))", "awaitPromise": true}, nil)
}

func (b *Browser) saw(method string) bool {
	for _, e := range b.events {
		if e.Method == method {
			return true
		}
	}
	return false
}

// Events are what the browser said since the last page was opened.
func (b *Browser) Events() []Event { return b.events }

// Evaluate computes an expression in the page.
func (b *Browser) Evaluate(ctx context.Context, expression string, value any) error {
	var r struct {
		Result struct{ Value json.RawMessage }
	}
	if err := b.Call(ctx, "Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &r); err != nil {
		return err
	}
	return json.Unmarshal(r.Result.Value, value)
}

// Screenshot is a PNG of the page, of all of it or of what is in view.
func (b *Browser) Screenshot(ctx context.Context, all bool) ([]byte, error) {
	var shot struct{ Data string }
	if err := b.Call(ctx, "Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": all}, &shot); err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(shot.Data)
}

// Close ends the browser.
func (b *Browser) Close() error {
	if b.conn != nil {
		_ = b.conn.CloseNow()
	}
	if b.process != nil && b.process.Process != nil {
		_ = b.process.Process.Kill()
		_ = b.process.Wait()
	}
	return os.RemoveAll(b.profile)
}
