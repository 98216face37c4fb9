package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/plain"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

const identity = "dev-abcdef"

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// tells is a backend that knows nothing but a bottle's log.
type tells struct {
	bottle.Backend
	run         io.ReadCloser
	err         error
	unavailable error
	followed    bool
}

func (b *tells) Name() string                    { return "docker" }
func (b *tells) Available(context.Context) error { return b.unavailable }

func (b *tells) Audit(_ context.Context, _ string, follow bool) (io.ReadCloser, error) {
	b.followed = follow
	return b.run, b.err
}

// logged is a home with one bottle and its log.
type logged struct {
	home    string
	store   state.Store
	backend *tells
}

func newLogged(t *testing.T, m state.Metadata, log string) logged {
	t.Helper()
	home := t.TempDir()
	l := logged{home, state.Open(home), &tells{err: bottle.ErrNotRunning}}
	m.Identity, m.Backend = identity, "docker"
	if err := errors.Join(l.store.Write(m), os.WriteFile(l.store.AuditFile(identity), []byte(log), 0o600)); err != nil {
		t.Fatal(err)
	}
	return l
}

// ended is what is recorded of a bottle that ended with this log.
func ended(t *testing.T, log string) state.Metadata {
	t.Helper()
	head, _, err := audit.ReadHead(strings.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	return state.Metadata{EndedAt: &noon, Audit: &head}
}

func (l logged) run(ctx context.Context, stdout io.Writer, args ...string) (code int, stderr string) {
	var errs bytes.Buffer
	code = Main(ctx, System{
		Args: args, Stdout: stdout, Stderr: &errs, Now: func() time.Time { return noon },
		Getenv:   func(name string) string { return map[string]string{"BOT_BOTTLE_HOME": l.home}[name] },
		UserHome: func() (string, error) { return l.home, nil }, Getwd: func() (string, error) { return l.home, nil },
		Executable: os.Executable,
		Backends:   func(*App) ([]bottle.Backend, error) { return []bottle.Backend{l.backend}, nil },
	})
	return code, errs.String()
}

// logs runs the verb and wants an exit status.
func (l logged) logs(t *testing.T, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out bytes.Buffer
	code, stderr := l.run(t.Context(), &out, append([]string{"logs"}, args...)...)
	if code != want {
		t.Errorf("logs %v: got status %d, want %d\n%s%s", args, code, want, out.String(), stderr)
	}
	return out.String(), stderr
}

// chained is the log of a run with these events between its beginning and its end.
func chained(t *testing.T, after audit.Head, events ...audit.Event) string {
	t.Helper()
	chain, log := audit.Continue(after), ""
	events = append([]audit.Event{{Kind: audit.Begin}}, append(events, audit.Event{Kind: audit.End})...)
	for i, e := range events {
		e.Bottle = identity
		if e.Service == "" {
			e.Service = audit.Bundle
		}
		if e.Time.IsZero() {
			e.Time = noon.Add(time.Duration(i-len(events)) * time.Minute)
		}
		line, err := chain.Line(e)
		if err != nil {
			t.Fatal(err)
		}
		log += string(line)
	}
	return log
}

func some(t *testing.T) string {
	return chained(t, audit.Head{},
		audit.Event{Service: "egress", Kind: audit.Request, Phase: audit.Open, Decision: audit.Allow, Method: "POST", Host: "api.anthropic.com", Port: 443, Path: "/v1/messages", Protocol: policy.HTTPS},
		audit.Event{Service: "egress", Kind: audit.Request, Decision: audit.Allow, Method: "POST", Host: "api.anthropic.com", Port: 443, Path: "/v1/messages", Status: 200, BytesOut: 12345, BytesIn: 6789, Millis: 1234,
			Usage: audit.Usage{Model: "claude-x", TokensIn: 32010, TokensOut: 42, TokensCached: 30000}},
		audit.Event{Service: "egress", Kind: audit.Lookup, Decision: audit.Deny, Host: "evil.example", Reason: "no route names evil.example"},
		audit.Event{Service: "git-gate", Kind: "push", Decision: audit.Deny, Host: "github.example", Reason: "refs/heads/main is protected"},
		audit.Event{Service: "egress", Kind: audit.Connect, Decision: audit.Allow, Protocol: policy.TCP, Host: "db.corp.internal", Port: 5432, BytesOut: 8, BytesIn: 4_000_000_000, Millis: 3_600_000},
		audit.Event{Service: "egress", Kind: audit.Lifecycle, Reason: "egress ended (exit status 2) and is started again"},
	)
}

func TestLogsOfABottleThatEnded(t *testing.T) {
	log := some(t)
	l := newLogged(t, ended(t, log), log)
	stdout, stderr := l.logs(t, 0, identity)
	for _, want := range []string{
		"POST    api.anthropic.com/v1/messages", "200  12.3k/6.8k   1.2s claude-x 32.0k→42 tokens (30.0k cached)", "deny  lookup  evil.example", "no route names evil.example",
		"tcp://db.corp.internal:5432", "8/4.0G 60m00s", "note          egress", "is started again", "begin         bundle", "end           bundle", "open  POST", "refs/heads/main is protected",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("it lacks %q:\n%s", want, stdout)
		}
	}
	if stderr != "" {
		t.Errorf("got %q", stderr)
	}
	if got, _ := l.logs(t, 0, identity, "--json"); got != log {
		t.Errorf("got %s, want %s", got, log)
	}
	if got, _ := l.logs(t, 0, identity, "--service", "git-gate", "--json"); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"service":"git-gate"`) {
		t.Errorf("got %s", got)
	}
	for since, lines := range map[string]int{"3m": 3, "90s": 1, "1d": 8, "2026-11-23T11:55:00Z": 5, "2026-11-24": 0} {
		if got, _ := l.logs(t, 0, identity, "--since", since, "--json"); strings.Count(got, "\n") != lines {
			t.Errorf("since %s: got %d lines, want %d", since, strings.Count(got, "\n"), lines)
		}
	}
	if got, _ := l.logs(t, 0, identity, "--verify"); !strings.Contains(got, "dev-abcdef: whole: 8 events, 1 run, head ") || strings.Contains(got, "open") {
		t.Errorf("got %s", got)
	}
	if got, _ := l.logs(t, 0, identity, "-f", "--json"); got != log {
		t.Errorf("following what ended: got %s", got)
	}
}

// What kind of event it is, is not cut.
func TestLogsOfRequestsAndWhatBecameOfThem(t *testing.T) {
	var events []audit.Event
	for _, kind := range []string{audit.Ask, audit.Edit, audit.Decision, audit.GrantEnd, audit.Lifecycle, audit.Flag, audit.Scanner} {
		events = append(events, audit.Event{Service: "supervise", Kind: kind, Reason: "of " + kind}, audit.Event{Service: "supervise", Kind: kind, Repository: "acme/widget", Decision: audit.Allow})
	}
	log := chained(t, audit.Head{}, events...)
	l := newLogged(t, ended(t, log), log)
	stdout, _ := l.logs(t, 0, identity)
	for line := range strings.Lines(stdout) {
		if len(line) > 24 && strings.Contains(line[:24], "…") {
			t.Errorf("cut: %s", line)
		}
	}
	for _, want := range []string{"back", "allow push    acme/widget"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("it lacks %q:\n%s", want, stdout)
		}
	}
}

// Attack H5: the log on this host is edited, cut, or holds what is no event. It is named
// whatever is asked for, and nothing is skipped.
func TestAttackH5_LogsOfABrokenLog(t *testing.T) {
	log := some(t)
	for name, c := range map[string]struct {
		harm  func(string) string
		line  int64
		shown int // lines with --json
	}{
		"edited":  {func(s string) string { return strings.Replace(s, "evil.example", "good.example", 1) }, 4, 8},
		"deleted": {func(s string) string { return without(s, 4) }, 4, 7},
		"cut":     {func(s string) string { return s[:len(s)-10] }, 8, 7},
		"garbage": {func(s string) string { return strings.Replace(s, `{"seq":4,`, "\x1b]0;owned\x07", 1) }, 4, 3},
		"end":     {func(s string) string { return without(s, 8) }, 8, 7},
		"empty":   {func(string) string { return "" }, 1, 0},
		"added": {func(s string) string {
			head, _, _ := audit.ReadHead(strings.NewReader(s))
			return s + chained(t, head)
		}, 9, 10},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLogged(t, ended(t, log), c.harm(log))
			stdout, stderr := l.logs(t, 1, identity, "--verify")
			if stdout != "" || !strings.Contains(stderr, fmt.Sprintf("line %d:", c.line)) || !strings.Contains(stderr, "sed -n") {
				t.Errorf("got %q, %q", stdout, stderr)
			}
			stdout, _ = l.logs(t, 1, identity, "--verify", "--json")
			var v verified
			if err := json.Unmarshal([]byte(stdout), &v); err != nil || v.Whole || v.BadLine != c.line || v.Why == "" {
				t.Errorf("got %s, %v", stdout, err)
			}
			want := 1
			if name == "end" || name == "empty" || name == "added" { // only the recorded head tells
				want = 0
			}
			stdout, stderr = l.logs(t, want, identity, "--json")
			if strings.Count(stdout, "\n") != c.shown || want == 1 && !strings.Contains(stderr, "not whole") {
				t.Errorf("got %d lines, want %d: %s", strings.Count(stdout, "\n"), c.shown, stderr)
			}
			if table, errs := l.logs(t, want, identity); strings.ContainsAny(table+errs+stderr, "\x1b\x07") {
				t.Errorf("got %q", table)
			}
		})
	}
}

func without(log string, n int) string {
	lines := strings.SplitAfter(log, "\n")
	return strings.Join(append(lines[:n-1:n-1], lines[n:]...), "")
}

// Of a bottle that runs, the backend has what this host did not read.
func TestLogsOfARunningBottle(t *testing.T) {
	before := some(t)
	head, _, _ := audit.ReadHead(strings.NewReader(before))
	now := chained(t, head, audit.Event{Service: "egress", Kind: audit.Request, Method: "GET", Host: "new.example"})
	now = without(now, 3) // it goes on
	l := newLogged(t, state.Metadata{Audit: &head}, before+now[:100])
	l.backend.err, l.backend.run = nil, io.NopCloser(strings.NewReader(now))
	if got, _ := l.logs(t, 0, identity, "--json"); got != before+now || l.backend.followed {
		t.Errorf("got %s", got)
	}
	l.backend.run = io.NopCloser(strings.NewReader(now))
	if got, _ := l.logs(t, 0, identity, "--verify"); !strings.Contains(got, "10 events, 2 runs") || !strings.Contains(got, "open: it goes on") {
		t.Errorf("got %s", got)
	}
	l.backend.err, l.backend.run = errors.New("the engine burns"), nil
	stdout, stderr := l.logs(t, 1, identity, "--json") // half a line was read
	if stdout != before || !strings.Contains(stderr, "the engine burns") || !strings.Contains(stderr, "may have done more") || !strings.Contains(stderr, "cut short") {
		t.Errorf("got %s, %s", stdout, stderr)
	}
}

// Attack H5: while a bottle runs, the log of its runs before is cut.
func TestAttackH5_ARunningBottlesPast(t *testing.T) {
	before := some(t)
	head, _, _ := audit.ReadHead(strings.NewReader(before))
	l := newLogged(t, state.Metadata{Audit: &head}, "")
	l.backend.err, l.backend.run = nil, io.NopCloser(strings.NewReader(chained(t, head)))
	if _, stderr := l.logs(t, 1, identity, "--verify"); !strings.Contains(stderr, "line 1:") {
		t.Errorf("got %s", stderr)
	}
}

// A log that is followed is shown as it comes. Stopping is no failure; a signal has its own status.
func TestLogsFollow(t *testing.T) {
	t.Run("stopped", func(t *testing.T) { follow(t, nil, 0) })
	t.Run("ctrl-C", func(t *testing.T) { follow(t, Interrupted{syscall.SIGINT}, 130) })
}

func follow(t *testing.T, why error, want int) {
	t.Helper()
	log := some(t)
	l := newLogged(t, state.Metadata{}, "")
	reader, writer := io.Pipe()
	l.backend.err, l.backend.run = nil, reader
	seen := &awaited{text: "claude-x", seen: make(chan struct{})}
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan int, 1)
	go func() {
		code, _ := l.run(ctx, seen, "logs", "-f", identity)
		done <- code
	}()
	if _, err := io.WriteString(writer, log[:strings.Index(log, `{"seq":5`)]); err != nil {
		t.Fatal(err)
	}
	<-seen.seen
	cancel(why)
	_ = writer.CloseWithError(context.Canceled)
	if code := <-done; code != want || !l.backend.followed {
		t.Errorf("got status %d", code)
	}
}

// The engine may end a stream before it has given out all that the run said, even in the middle of a line,
// and how the agent ended is written behind it: what is missing comes from the log that is kept.
func TestLogsFollowToTheLastLine(t *testing.T) {
	log := some(t)
	chain, _, err := audit.ReadHead(strings.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	tail, err := audit.Continue(chain).Line(audit.Event{Bottle: identity, Service: "agent", Kind: audit.AgentEnd, Time: noon})
	if err != nil {
		t.Fatal(err)
	}
	whole := log + string(tail)
	for _, given := range []int{0, 1, len(log) / 2, len(log) - 1, len(log), len(whole)} {
		l := newLogged(t, state.Metadata{}, log[:len(log)/4])
		reader, writer := io.Pipe()
		l.backend.err, l.backend.run = nil, reader
		go func() {
			_, _ = io.WriteString(writer, whole[:given])
			err := os.WriteFile(l.store.AuditFile(identity), []byte(whole), 0o600)
			_ = writer.CloseWithError(err)
		}()
		if got, _ := l.logs(t, 0, "-f", identity, "--json"); got != whole {
			t.Errorf("of %d bytes that were given out of %d: got\n%s", given, len(whole), got)
		}
	}
}

// awaited says when a text was written.
type awaited struct {
	mu   sync.Mutex
	all  strings.Builder
	text string
	seen chan struct{}
	once sync.Once
}

func (a *awaited) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all.Write(p)
	if strings.Contains(a.all.String(), a.text) {
		a.once.Do(func() { close(a.seen) })
	}
	return len(p), nil
}

func TestLogsThatMakeNoSense(t *testing.T) {
	l := newLogged(t, ended(t, ""), "")
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "logs needs IDENTITY"},
		{[]string{"dev-aaaaaa"}, "there is no bottle dev-aaaaaa"},
		{[]string{"../../etc"}, "there is no bottle ../../etc"},
		{[]string{"\x1b]0;x\x07"}, "there is no bottle ·]0;x·"},
		{[]string{identity, "--service", "egres"}, `unknown service "egres"`},
		{[]string{identity, "--since", "yesterday"}, "for example: --since 10m"},
		{[]string{identity, "--since", "-5m"}, "neither a duration nor a time"},
		{[]string{identity, "--verify", "--follow"}, "leave out --follow"},
		{[]string{identity, "--verify", "--service", "egress"}, "the whole log as it is"},
	} {
		if _, stderr := l.logs(t, 2, c.args...); !strings.Contains(stderr, c.want) {
			t.Errorf("%v: got %q, want %q", c.args, stderr, c.want)
		}
	}
	if _, stderr := l.logs(t, 0, identity); !strings.Contains(stderr, "no event is recorded") {
		t.Errorf("got %q", stderr)
	}
	if stdout, _ := l.logs(t, 0, identity, "--verify"); !strings.Contains(stdout, "no event is recorded") {
		t.Errorf("got %q", stdout)
	}
}

// A damaged record is said, and the log is shown all the same.
func TestLogsOfADamagedRecord(t *testing.T) {
	log := some(t)
	l := newLogged(t, ended(t, log), log)
	if err := os.WriteFile(l.store.Dir(identity)+"/metadata.json", []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, stderr := l.logs(t, 0, identity, "--json")
	if stdout != log || !strings.Contains(stderr, "is damaged") {
		t.Errorf("got %s, %s", stdout, stderr)
	}
}

func TestLogsCompletion(t *testing.T) {
	l := newLogged(t, ended(t, ""), "")
	for args, want := range map[string]string{"logs|": identity, "logs|" + identity + "|--service|": "git-gate"} {
		var out bytes.Buffer
		code, _ := l.run(t.Context(), &out, append([]string{"__complete"}, strings.Split(args, "|")...)...)
		if code != 0 || !strings.Contains(out.String(), want+"\n") {
			t.Errorf("%s: got %d, %s", args, code, out.String())
		}
	}
}

// Attacks H1, G10: names that speak to the terminal, change direction, are very long, or
// wide. Each line fits, has no character that does anything, and shows the host's end.
func TestAttackH1_TheTimelineIsPlain(t *testing.T) {
	hostile := "\x1b[2J\u009b31m\u202e\u2066\u200b\ufeff\u2028\U000e0041\t\r\n\x00\xff" + strings.Repeat("你好🙂e\u0301", 40)
	events := []audit.Event{
		{Time: noon, Kind: hostile, Decision: hostile, Method: hostile, Host: hostile, Path: hostile, Reason: hostile, Service: hostile, Port: 99999, Status: 999, BytesIn: 1 << 62, BytesOut: -1 << 62, Millis: 1e300, Protocol: policy.TCP, Usage: audit.Usage{Model: hostile, TokensIn: 1 << 62}},
		{Time: noon, Kind: hostile, Service: hostile, Reason: hostile, Millis: -1},
		{Time: noon.AddDate(7000, 0, 0), Kind: audit.Lookup, Decision: audit.Deny, Host: "api.anthropic.com." + strings.Repeat("x", 300) + ".evil.example"},
		{Time: noon, Kind: audit.Request, Decision: audit.Allow, Host: "api.anthropic.com", Path: "/" + strings.Repeat("y", 300) + "/end", Reason: strings.Repeat("z ", 200)},
	}
	for _, width := range []int{0, 1, 20, 46, 54, 79, 80, 119, 120, 200, 500} {
		var out strings.Builder
		tl := &timeline{out: &out, width: width, local: time.UTC}
		for _, e := range events {
			if err := tl.show(e); err != nil {
				t.Fatal(err)
			}
		}
		for line := range strings.Lines(out.String()) {
			line = strings.TrimSuffix(line, "\n")
			if i := strings.IndexFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
				t.Errorf("width %d: %q at %d of %q", width, line[i:i+1], i, line)
			}
			if width >= 20 && plain.Width(line) > width {
				t.Errorf("width %d: %d cells: %q", width, plain.Width(line), line)
			}
		}
		if width >= 54 && !strings.Contains(out.String(), "le\n") && !strings.Contains(out.String(), "evil.example") {
			t.Errorf("width %d: the host's end is not shown:\n%s", width, out.String())
		}
	}
}

// A push of which nobody knows whether it arrived is neither allowed nor denied.
func TestTheTimelineShowsWhatNobodyKnows(t *testing.T) {
	var out strings.Builder
	tl := &timeline{out: &out, local: time.UTC}
	if err := tl.show(audit.Event{Time: noon, Kind: audit.Push, Service: "git-gate", Decision: audit.Unknown, Repository: "widget", Reason: "whether it is upstream is not known"}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(strings.Fields(out.String()), " "); !strings.HasSuffix(got, "12:00:00 maybe push widget whether it is upstream is not known") {
		t.Errorf("got %q", got)
	}
}

// What pipelock flags, and that it cannot look, is no verdict on a request.
func TestTheTimelineShowsFlags(t *testing.T) {
	var out strings.Builder
	tl := &timeline{out: &out, local: time.UTC}
	for _, e := range []audit.Event{
		{Time: noon, Kind: audit.Flag, Service: "pipelock", Host: "docs.example", Method: "GET", Path: "/guide", Status: 200, Reason: "the answer holds what may be orders to the agent"},
		{Time: noon, Kind: audit.Scanner, Service: "pipelock", Reason: "answers are handed on"},
		{Time: noon, Kind: audit.Scanner, Service: "pipelock", Decision: audit.Deny, Reason: "it has ended"},
	} {
		if err := tl.show(e); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	want := []string{"12:00:00 flag GET docs.example/guide 200 the answer holds what may be orders to the agent", "12:00:00 note pipelock answers are handed on", "12:00:00 deny pipelock it has ended"}
	if !slices.Equal(got[2:], want) {
		t.Errorf("got %q", got)
	}
}

// Invariant 3: of a request that egress was killed over only its beginning is on record;
// whoever reads the table hears of it, and of no other's.
func TestTheTimelineShowsWhatHasNoEnd(t *testing.T) {
	begun := func(path string) audit.Event {
		return audit.Event{Time: noon, Kind: audit.Request, Decision: audit.Allow, Phase: audit.Ahead, Host: "api.example", Method: "GET", Path: path}
	}
	ended := begun("/ended")
	ended.Phase, ended.Status = "", 200
	var out strings.Builder
	tl := &timeline{out: &out, local: time.UTC}
	for _, e := range []audit.Event{begun("/ended"), begun("/killed"), ended} {
		if err := tl.show(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := tl.end(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 4 || !strings.Contains(lines[2], "allow") || !strings.Contains(lines[2], "/ended") || !strings.Contains(lines[3], "/killed") || !strings.Contains(lines[3], "its end is not on record") {
		t.Errorf("got %s", out.String())
	}
}
