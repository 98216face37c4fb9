package notify

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var notice = Notice{Bottle: "implementer-k7x2m4", Request: "k7x2m4-1", Kind: "egress", Waiting: 2}

func TestSend(t *testing.T) {
	var posted map[string]any
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(data, &posted); err != nil || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("got %s, %v", data, err)
		}
	}))
	defer hook.Close()
	dir := t.TempDir()
	ran, shown := filepath.Join(dir, "ran"), filepath.Join(dir, "shown")
	if err := os.WriteFile(filepath.Join(dir, "notify-send"), []byte("#!/bin/sh\necho \"$@\" > "+shown+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	s := Sender{
		Desktop: true, OS: "linux", Webhook: hook.URL + "/x", Env: os.Environ(),
		Command: []string{"sh", "-c", `echo "$BOT_BOTTLE_MESSAGE|$BOT_BOTTLE_BOTTLE|$BOT_BOTTLE_REQUEST|$BOT_BOTTLE_KIND|$1" > "$2"`, "sh", "a word", ran},
	}
	if err := s.Send(t.Context(), notice); err != nil {
		t.Fatal(err)
	}
	const text = "implementer-k7x2m4 asks its operator (egress k7x2m4-1, 2 wait)"
	for file, want := range map[string]string{ran: text + "|implementer-k7x2m4|k7x2m4-1|egress|a word\n", shown: "--app-name=bot-bottle -- bot-bottle " + text + "\n"} {
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	if posted["text"] != text || posted["bottle"] != notice.Bottle || posted["request"] != notice.Request || posted["waiting"] != 2.0 {
		t.Errorf("posted %v", posted)
	}
	for _, os := range []string{"linux", "darwin"} {
		if argv := (Sender{OS: os}).desktop(notice); argv != nil {
			t.Errorf("unasked, %s is to run %q", os, argv)
		}
	}
	if argv := (Sender{Desktop: true, OS: "darwin"}).desktop(notice); argv[0] != "osascript" || argv[2] != `display notification "`+text+`" with title "bot-bottle"` {
		t.Errorf("got %q", argv)
	}
}

// A webhook's URL is a credential: no error holds it, and no redirect takes the notice
// elsewhere.
func TestAttackC10_AWebhooksURLIsNotTold(t *testing.T) {
	var elsewhere bool
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere = true }))
	defer other.Close()
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	}))
	redirects := hook.URL + "/services/s3cr3t-token"
	for name, url := range map[string]string{"a redirect": redirects, "nobody": "http://127.0.0.1:1/services/s3cr3t-token", "no URL": "http://127.0.0.1:x/s3cr3t-token"} {
		err := Sender{Webhook: url}.Send(t.Context(), notice)
		if err == nil || strings.Contains(err.Error(), "s3cr3t-token") || elsewhere {
			t.Errorf("%s: got %v", name, err)
		}
	}
	hook.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (Sender{Webhook: redirects}).Send(ctx, notice); err == nil || strings.Contains(err.Error(), "s3cr3t-token") {
		t.Errorf("got %v", err)
	}
}

// A desktop that hangs, a command that hangs with all that it has started, a webhook that answers
// slowly: none keeps another from telling, and none is waited for.
func TestWhatHangsHoldsNothingUp(t *testing.T) {
	dir := t.TempDir()
	ran, hangs := filepath.Join(dir, "ran"), "#!/bin/sh\nsleep 600 & wait\n"
	if err := os.WriteFile(filepath.Join(dir, "notify-send"), []byte(hangs), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	posted := make(chan bool, 1)
	ended := make(chan bool)
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		posted <- true
		<-ended
	}))
	defer slow.Close()
	defer close(ended)
	s := Sender{Desktop: true, OS: "linux", Webhook: slow.URL, Env: os.Environ(), Command: []string{"sh", "-c", "echo ran > " + ran + "; exec sleep 600"}, limit: 2 * time.Second}
	began := time.Now()
	err := s.Send(t.Context(), notice)
	if took := time.Since(began); took > time.Minute {
		t.Errorf("it took %s", took)
	}
	for _, want := range []string{"notify-send", "sh:", "the webhook at 127.0.0.1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, which does not name %s", err, want)
		}
	}
	if _, err := os.Stat(ran); err != nil || len(posted) != 1 {
		t.Errorf("the command: %v; the webhook was asked %d times", err, len(posted))
	}
}

func TestWhatFailsIsReported(t *testing.T) {
	err := Sender{Command: []string{"sh", "-c", "echo broken >&2; exit 3"}, Env: os.Environ()}.Send(t.Context(), notice)
	if err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("got %v", err)
	}
}
