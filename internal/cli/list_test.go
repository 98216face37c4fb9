package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/bottle"
	htmlreport "github.com/bot-bottle/bot-bottle/internal/report"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// backendOf is a backend with bottles, or one that cannot be asked.
type backendOf struct {
	bottle.Backend
	name        string
	active      []bottle.ActiveAgent
	unavailable error
}

func (b backendOf) Name() string                          { return b.name }
func (b backendOf) Available(context.Context) error       { return b.unavailable }
func (b backendOf) Place(context.Context) (string, error) { return "here", b.unavailable }
func (b backendOf) Active(context.Context) ([]bottle.ActiveAgent, error) {
	return b.active, b.unavailable
}
func (b backendOf) Open(context.Context, string) (bottle.Bottle, error) {
	return nil, bottle.ErrNotRunning
}

type noEngine struct{ error }

func (noEngine) Hint() string { return "start it" }

func runWith(t *testing.T, home string, backends []bottle.Backend, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Main(t.Context(), System{
		Args: args, Stdout: &out, Stderr: &errs, Now: func() time.Time { return noon },
		Getenv:   func(name string) string { return map[string]string{"BOT_BOTTLE_HOME": home}[name] },
		UserHome: func() (string, error) { return home, nil }, Getwd: func() (string, error) { return home, nil }, Executable: os.Executable,
		Backends: func(*App) ([]bottle.Backend, error) { return backends, nil },
	})
	return code, out.String(), errs.String()
}

func twoBackends() []bottle.Backend {
	return []bottle.Backend{
		backendOf{name: "smolmachines", active: []bottle.ActiveAgent{{Backend: "smolmachines", Slug: "vm-aaaaaa", AgentName: "vm", Status: bottle.Running, StartedAt: noon.Format(time.RFC3339)}}},
		backendOf{name: "docker", unavailable: noEngine{errors.New("no engine answers")}},
	}
}

// Who cannot be asked is a note, and the others are listed; in order of name.
func TestListNotesWhoCannotBeAsked(t *testing.T) {
	code, stdout, stderr := runWith(t, t.TempDir(), twoBackends(), "list")
	if code != 0 || !strings.Contains(stdout, "vm-aaaaaa") || !strings.Contains(stderr, "bot-bottle: docker could not be asked: no engine answers\n  start it\n") {
		t.Errorf("got %d %s%s", code, stdout, stderr)
	}
	code, stdout, stderr = runWith(t, t.TempDir(), twoBackends()[1:], "list", "--json")
	if code != 0 || stdout != "[]\n" || !strings.Contains(stderr, "could not be asked") {
		t.Errorf("got %d %s%s", code, stdout, stderr)
	}
	if _, _, stderr := runWith(t, t.TempDir(), twoBackends()[1:], "list"); !strings.Contains(stderr, "no bottle is known to run") {
		t.Errorf("got %s", stderr)
	}
	_, stdout, _ = runWith(t, t.TempDir(), twoBackends(), "list", "backends")
	if strings.Index(stdout, "docker") > strings.Index(stdout, "smolmachines") || !strings.Contains(stdout, "no: no engine answers (start it)") {
		t.Errorf("got %s", stdout)
	}
}

// A damaged record is set aside and told of; the others are listed, and what is not known is
// not made up.
func TestListAllTellsTheTruth(t *testing.T) {
	home := t.TempDir()
	store, at, code := state.Open(home), noon.Add(-time.Hour), 3
	for _, m := range []state.Metadata{
		{Identity: "ended-aaaaaa", Backend: "smolmachines", EndedAt: &at, ExitCode: &code}, {Identity: "broken-aaaaaa", Backend: "smolmachines"}, {Identity: "gone-aaaaaa", Backend: "docker"},
		{Identity: "removed-aaaaaa", Backend: "docker", EndedAt: &at, Remove: true}, {Identity: "busy-aaaaaa", Backend: "smolmachines"}, {Identity: "vm-aaaaaa", Backend: "smolmachines", Bottle: "dev"}, {Identity: "lost-aaaaaa", Backend: "smolmachines", Place: "here"}, {Identity: "far-aaaaaa", Backend: "smolmachines", Place: "there"},
	} {
		if err := store.Write(m); err != nil {
			t.Fatal(err)
		}
	}
	release, err := store.Lock("busy-aaaaaa")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if err := errors.Join(os.WriteFile(filepath.Join(store.Dir("broken-aaaaaa"), "metadata.json"), []byte("{"), 0o600), os.MkdirAll(store.Dir("newer-aaaaaa"), 0o700),
		os.WriteFile(filepath.Join(store.Dir("newer-aaaaaa"), "metadata.json"), []byte(`{"version":99,"identity":"newer-aaaaaa"}`), 0o600)); err != nil {
		t.Fatal(err)
	}
	want := map[string]condition{"ended-aaaaaa": isEnded, "broken-aaaaaa": isDamaged, "gone-aaaaaa": isUnknown, "removed-aaaaaa": isRemoved, "busy-aaaaaa": isBusy, "vm-aaaaaa": isRunning, "lost-aaaaaa": isInterrupted, "far-aaaaaa": isUnknown, "newer-aaaaaa": isUnknown}
	for range 2 {
		status, stdout, stderr := runWith(t, home, twoBackends(), "list", "all", "--json")
		var got []listed
		if err := json.Unmarshal([]byte(stdout), &got); err != nil || status != 0 {
			t.Fatalf("got %d, %v: %s", status, err, stderr)
		}
		states := map[string]condition{}
		for _, l := range got {
			states[l.Identity] = l.State
		}
		if !slices.IsSortedFunc(got, func(x, y listed) int { return strings.Compare(x.Identity, y.Identity) }) {
			t.Errorf("not in order: %s", stdout)
		}
		if fmt.Sprint(states) != fmt.Sprint(want) {
			t.Errorf("got  %v\nwant %v", states, want)
		}
		if !strings.Contains(stderr, "is damaged") || !strings.Contains(stderr, "was written by a newer bot-bottle") {
			t.Errorf("got %s", stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(store.Dir("broken-aaaaaa"), "metadata.json")); !os.IsNotExist(err) {
		t.Error("the damaged record was not set aside")
	}
}

// Who attaches to a bottle that is being taken down is told so, and not that there is none.
func TestAttachToOneThatEndsJustNow(t *testing.T) {
	home := t.TempDir()
	store := state.Open(home)
	if err := store.Write(state.Metadata{Identity: "busy-aaaaaa", Backend: "docker"}); err != nil {
		t.Fatal(err)
	}
	gone := fmt.Errorf("busy-aaaaaa: %w", bottle.ErrNotRunning)
	a := &App{home: home}
	if err := a.howItEnded("busy-aaaaaa", gone); err != gone {
		t.Errorf("nobody is at work on it: got %v", err)
	}
	release, err := store.Lock("busy-aaaaaa")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if err := a.howItEnded("busy-aaaaaa", gone); err == nil || !strings.Contains(err.Error(), "busy-aaaaaa starts or ends just now") {
		t.Errorf("got %v", err)
	}
}

// docs/lifecycle.md says what programs may rely on: every field of what --json prints, and
// every state.
func TestJSONIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/lifecycle.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range []reflect.Type{reflect.TypeFor[bottle.ActiveAgent](), reflect.TypeFor[listed](), reflect.TypeFor[named](), reflect.TypeFor[listedBackend](), reflect.TypeFor[swept](), reflect.TypeFor[bottle.Leftover](), reflect.TypeFor[state.Metadata](), reflect.TypeFor[verified]()} {
		for field := range of.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if name != "" && !strings.Contains(string(doc), "`"+name+"`") {
				t.Errorf("%s: %s is not documented", of, name)
			}
		}
	}
	for _, s := range []condition{isRunning, isEnded, isInterrupted, isBusy, isRemoved, isDamaged, isUnknown} {
		if !strings.Contains(string(doc), "`"+string(s)+"`") {
			t.Errorf("the state %s is not documented", s)
		}
	}
}

// What is on record of the agent stands in the timeline, and is no line of the log.
func TestLogsOfTheAgentAndLifecycle(t *testing.T) {
	log := chained(t, audit.Head{}, audit.Event{Kind: audit.Request, Service: "egress", Decision: audit.Allow, Host: "a.example"})
	m := ended(t, log)
	code := 4
	m.ExitCode = &code
	l := newLogged(t, m, log)
	if out, _ := l.logs(t, 0, identity); !strings.Contains(out, "the agent ended with status 4") || !strings.Contains(out, "a.example") {
		t.Errorf("got %s", out)
	}
	if out, _ := l.logs(t, 0, identity, "--service", "agent"); !strings.Contains(out, "the agent ended with status 4") || strings.Contains(out, "a.example") {
		t.Errorf("got %s", out)
	}
	if out, _ := l.logs(t, 0, identity, "--service", "lifecycle"); !strings.Contains(out, "begin") || !strings.Contains(out, "end") || strings.Contains(out, "a.example") {
		t.Errorf("got %s", out)
	}
	if out, _ := l.logs(t, 0, identity, "--json"); out != log {
		t.Errorf("got %s", out)
	}
}

// The report of a bottle is a file for its owner alone, and says what is wrong with its log.
func TestReportVerb(t *testing.T) {
	log := chained(t, audit.Head{}, audit.Event{Kind: audit.Request, Service: "egress", Decision: audit.Deny, Host: "denied.example", Reason: "no route"})
	l := newLogged(t, ended(t, log), log)
	out := filepath.Join(t.TempDir(), "page.html")
	var stdout bytes.Buffer
	if code, stderr := l.run(t.Context(), &stdout, "report", identity, "-o", out); code != 0 || stdout.String() != out+"\n" || stderr != "" {
		t.Errorf("got %d %s%s", code, stdout.String(), stderr)
	}
	page, err := os.ReadFile(out)
	if info, statErr := os.Stat(out); err != nil || statErr != nil || info.Mode().Perm() != 0o600 || !strings.Contains(string(page), "denied.example") {
		t.Errorf("got %v, %v", err, statErr)
	}
	if err := os.WriteFile(l.store.AuditFile(identity), []byte(strings.Replace(log, "denied", "allowed", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	stdout.Reset()
	if code, stderr := l.run(t.Context(), &stdout, "report", identity, "-o", "-"); code != 0 || !strings.Contains(stderr, "is not whole") || !strings.Contains(stdout.String(), "The audit log is not whole.") {
		t.Errorf("got %d %s", code, stderr)
	}
	for _, args := range [][]string{{"report", "no-bottle-aaaaaa"}, {"report"}, {"report", identity, "--prices", "/none"}, {"report", identity, "-o", "/no/such/dir/x"}} {
		if code, _ := l.run(t.Context(), &stdout, args...); code == 0 {
			t.Errorf("%v: got status 0", args)
		}
	}
	for out, why := range map[string]string{"/no/such/dir/x": "no such file or directory", t.TempDir(): "file exists"} {
		if _, stderr := l.run(t.Context(), &stdout, "report", identity, "-o", out); !strings.HasSuffix(stderr, "bot-bottle: cannot write the report to "+out+": "+why+"\n") {
			t.Errorf("it names what nobody asked for: %s", stderr)
		}
	}
}

// The operator's own prices are taken from the flag, else from config.yaml, else from the program.
func TestPrices(t *testing.T) {
	home := t.TempDir()
	a := &App{home: home, userHome: home}
	table := func(name, asOf string) {
		if err := os.WriteFile(filepath.Join(home, name), []byte(`{"as_of":"`+asOf+`","currency":"EUR","per_million":{"m":{"in":1}}}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	table("own.json", "own")
	table("flag.json", "flag")
	for _, c := range []struct{ config, flag, want string }{{"", "", htmlreport.ListPrices().AsOf}, {"prices: own.json", "", "own"}, {"prices: ~/own.json", "", "own"}, {"prices: " + filepath.Join(home, "own.json"), "", "own"}, {"prices: own.json", filepath.Join(home, "flag.json"), "flag"}} {
		if err := os.WriteFile(filepath.Join(home, "config.yaml"), []byte(c.config+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := a.prices(c.flag); err != nil || got.AsOf != c.want {
			t.Errorf("%q, %q: got %q, %v", c.config, c.flag, got.AsOf, err)
		}
	}
	if err := os.WriteFile(filepath.Join(home, "config.yaml"), []byte("prices: none.json\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.prices(""); err == nil || !strings.Contains(err.Error(), "none.json") {
		t.Errorf("got %v", err)
	}
}

// Where no backend can be used, each says why, and the first what to do.
func TestNoBackendAtAll(t *testing.T) {
	none := []bottle.Backend{backendOf{name: "smolmachines", unavailable: errors.New("there is no smolvm on PATH")}, twoBackends()[1]}
	code, stdout, stderr := runWith(t, t.TempDir(), none, "exec", "a-k7x2m4", "--", "true")
	const want = "bot-bottle: docker: no engine answers\nbot-bottle: smolmachines: there is no smolvm on PATH\n  start it\n"
	if code != 1 || stdout != "" || stderr != want {
		t.Errorf("got %d %s%s", code, stdout, stderr)
	}
	none = []bottle.Backend{backendOf{name: "smolmachines", unavailable: fmt.Errorf("there is no smolvm on PATH: %w", bottle.ErrAbsent)}, twoBackends()[1]}
	if _, _, stderr := runWith(t, t.TempDir(), none, "exec", "a-k7x2m4", "--", "true"); stderr != "bot-bottle: docker: no engine answers\n  start it\n" {
		t.Errorf("of what nobody has used here it says %s", stderr)
	}
}
