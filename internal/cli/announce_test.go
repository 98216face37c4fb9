package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// What we have to say comes between what an agent writes, and never into it: wherever its
// output is cut, what the agent wrote is whole, and ours is there once.
func TestAnAnnouncementBreaksNothingOfTheAgents(t *testing.T) {
	const ours = "\x1b]2;1 request waits\x1b\\\a"
	for _, agents := range []string{
		"plain text", "\x1b[31mred\x1b[0m", "\x1b]0;its title\x07after", "\x1b]8;;https://x.example\x1b\\link\x1b]8;;\x1b\\", "\x1bP1$r0m\x1b\\x", "\x1b_app\x1b\\x",
		"ä€🙂é", "\x1b(0lqk\x1b(B", "\x1b[?1049h\x1b[2J\x1b[1;1H", "\x1b\x1b[A", "\x1b]0;cut\x18x", "\x1bOPx", "\x1b]0;two\x1b]1;x\x07y", "\x1b^pm\x1b\\z",
	} {
		for cut := range len(agents) + 1 {
			var out strings.Builder
			s := &sharedScreen{out: &out}
			_, _ = s.Write([]byte(agents[:cut]))
			s.Announce(ours)
			for i := range len(agents) - cut {
				_, _ = s.Write([]byte{agents[cut+i]})
			}
			got := out.String()
			if strings.Replace(got, ours, "", 1) != agents {
				t.Fatalf("%q, cut at %d: got %q", agents, cut, got)
			}
			at := strings.Index(got, ours)
			before := &sharedScreen{out: &strings.Builder{}}
			_, _ = before.Write([]byte(got[:at]))
			if before.state != ground || before.more != 0 {
				t.Errorf("%q, cut at %d: ours is within a sequence: %q", agents, cut, got)
			}
		}
	}
}

// Each request is told of once, by one of all that follow the bottle, and in nobody's words.
func TestAttackH1_NotificationsHoldNoWordOfTheAgents(t *testing.T) {
	home := t.TempDir()
	told := filepath.Join(home, "told.txt")
	if err := os.MkdirAll(filepath.Join(home, "state", "dev-k7x2m4"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "config.yaml"), []byte("notify: {desktop: false, command: [sh, -c, 'env | grep BOT_BOTTLE_ | grep -v -e ^BOT_BOTTLE_HOME= -e ^BOT_BOTTLE_REQUIRE= | sort >> \"$0\"', "+told+"]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var screens [2]strings.Builder
	s := requests.Shown{Bottle: "dev-k7x2m4", Request: requests.Request{ID: "k7x2m4-1", Kind: requests.Question, State: requests.Pending, Question: hostile, Why: []string{hostile}, Host: "evil.example"}}
	for i := range screens {
		a := &App{home: home, System: System{Getenv: os.Getenv, Stderr: os.Stderr}}
		n, err := a.announcer(plainScreen{&screens[i]})
		if err != nil {
			t.Fatal(err)
		}
		for _, news := range [][]requests.Shown{{s}, nil} {
			if err := n.hear(context.Background(), s.Bottle, []requests.Shown{s}, news)(); err != nil {
				t.Error(err)
			}
		}
		s.State = requests.Rejected
		if err := n.hear(context.Background(), s.Bottle, []requests.Shown{s}, []requests.Shown{s})(); err != nil {
			t.Error(err)
		}
		s.State = requests.Pending
		if got := screens[i].String(); got != "\x1b]2;1 request waits - bot-bottle\x1b\\\a\x1b]2;bot-bottle\x1b\\" {
			t.Errorf("screen %d got %q", i, got)
		}
	}
	const want = "BOT_BOTTLE_BOTTLE=dev-k7x2m4\nBOT_BOTTLE_KIND=question\nBOT_BOTTLE_MESSAGE=dev-k7x2m4 asks its operator (question k7x2m4-1)\nBOT_BOTTLE_REQUEST=k7x2m4-1\n"
	if got, err := os.ReadFile(told); err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

// Two requests come at once, and the first notice fails: the second is told of nevertheless, and
// the operator hears once that it does not work.
func TestANoticeThatFailsStopsNoOther(t *testing.T) {
	home := t.TempDir()
	told := filepath.Join(home, "told.txt")
	if err := os.MkdirAll(filepath.Join(home, "state", "dev-k7x2m4"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "config.yaml"), []byte("notify: {desktop: false, command: [sh, -c, 'echo $BOT_BOTTLE_REQUEST >> \"$0\"; echo broken >&2; exit 1', "+told+"]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var complaints strings.Builder
	n, err := (&App{home: home, System: System{Getenv: os.Getenv, Stderr: &complaints}}).announcer(nil)
	if err != nil {
		t.Fatal(err)
	}
	all := []requests.Shown{{Request: requests.Request{ID: "k7x2m4-1", State: requests.Pending}}, {Request: requests.Request{ID: "k7x2m4-2", State: requests.Pending}}}
	for range 2 {
		n.complain(n.hear(t.Context(), "dev-k7x2m4", all, all)())
		all[0].ID, all[1].ID = "k7x2m4-3", "k7x2m4-4"
	}
	if got, err := os.ReadFile(told); err != nil || string(got) != "k7x2m4-1\nk7x2m4-2\nk7x2m4-3\nk7x2m4-4\n" {
		t.Errorf("got %q, %v", got, err)
	}
	if got := complaints.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "broken") {
		t.Errorf("the operator reads %q", got)
	}
}

// Attack G1: an agent asks and takes it back, again and again, so that its operator stops to look.
// After a while it is told of now and then, the title says all the same how many wait, and another
// bottle is heard.
func TestAttackG1_NobodyIsRungToDeath(t *testing.T) {
	home := t.TempDir()
	told := filepath.Join(home, "told.txt")
	for _, bottle := range []string{"dev-k7x2m4", "dev-a2b3c4"} {
		if err := os.MkdirAll(filepath.Join(home, "state", bottle), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(home, "config.yaml"), []byte("notify: {desktop: false, command: [sh, -c, 'echo $BOT_BOTTLE_BOTTLE >> \"$0\"', "+told+"]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var screen strings.Builder
	n, err := (&App{home: home, System: System{Getenv: os.Getenv, Stderr: os.Stderr}}).announcer(plainScreen{&screen})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(bottle string, k int) {
		t.Helper()
		s := requests.Shown{Bottle: bottle, Request: requests.Request{ID: fmt.Sprintf("k7x2m4-%d", k), Kind: requests.Question, State: requests.Pending}}
		if err := n.hear(t.Context(), bottle, []requests.Shown{s}, []requests.Shown{s})(); err != nil {
			t.Fatal(err)
		}
		if err := n.hear(t.Context(), bottle, nil, nil)(); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		ask("dev-k7x2m4", 1) // shown again, as all that wait are when the policy changes
	}
	for k := range 40 {
		ask("dev-k7x2m4", k+1)
	}
	ask("dev-a2b3c4", 1)
	notices, err := os.ReadFile(told)
	if err != nil {
		t.Fatal(err)
	}
	if loud := strings.Count(string(notices), "dev-k7x2m4\n"); loud < noticesAtOnce || loud > noticesAtOnce+2 {
		t.Errorf("it was told of %d times", loud)
	}
	if !strings.HasSuffix(string(notices), "dev-a2b3c4\n") {
		t.Error("another bottle was not heard")
	}
	if titles, bells := strings.Count(screen.String(), "1 request waits"), strings.Count(screen.String(), "\a"); titles != 61 || bells > noticesAtOnce+3 {
		t.Errorf("%d titles, %d bells", titles, bells)
	}
}

// revisions is a desk at which one request more waits each time that it is asked.
type revisions struct{ *desked }

func (r revisions) Requests(ctx context.Context, after int) control.Requests {
	if after >= 3 {
		<-ctx.Done()
	}
	now := control.Requests{Revision: max(after, 0) + 1}
	for k := range now.Revision {
		now.Requests = append(now.Requests, requests.Shown{Bottle: identity, Request: requests.Request{ID: fmt.Sprintf("abcdef-%d", k+1), Kind: requests.Question, State: requests.Pending}})
	}
	return now
}

// A command that hangs keeps neither the title from saying how many wait, nor the operator from
// leaving.
func TestTheTitleWaitsForNoNotice(t *testing.T) {
	a, d, _, _ := desk(t, askRoute)
	d.Desk = revisions{d}
	if err := os.WriteFile(filepath.Join(a.home, "config.yaml"), []byte("notify: {desktop: false, command: [sleep, '20']}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	seen, screen := io.Pipe()
	a.screen = &sharedScreen{out: screen}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	began := time.Now()
	go func() { defer close(ended); a.announceHere(ctx, identity) }()
	lines := bufio.NewScanner(seen)
	lines.Split(bufio.ScanRunes)
	for shown := ""; !strings.Contains(shown, "3 requests wait") && lines.Scan(); {
		shown += lines.Text()
	}
	cancel()
	_ = seen.Close()
	<-ended
	if took := time.Since(began); took > 9*time.Second { // a notice takes ten
		t.Errorf("it took %s", took)
	}
}
