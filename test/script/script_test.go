//go:build linux

// Package script tells in scripts what the command line does, verb by verb: each runs cli.Main in
// this process, against the memory backend, so that no engine is needed. A script opens with what
// it tells in words, and says all that is printed.
package script

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/bot-bottle/bot-bottle/internal/backend/memory"
	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/cli"
	"github.com/bot-bottle/bot-bottle/internal/state"
	"github.com/bot-bottle/bot-bottle/test/need"
)

func TestMain(m *testing.M) {
	memory.Main()
	time.Local = time.UTC // logs.txtar knows what o'clock it is
	os.Exit(m.Run())
}

// noon is the time of everything that the command line says.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestScripts(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "bot-bottle")
	if err := memory.Build(program); err != nil {
		t.Fatal(err)
	}
	backend := func(home, bottles string) *memory.Driver {
		return &memory.Driver{State: state.Open(home), Program: program, Dir: bottles, Roots: func() (string, error) { return "", nil }, Now: func() time.Time { return noon }}
	}
	if err := backend(dir, dir).Available(t.Context()); err != nil {
		need.Lacking(t, need.Namespaces, err)
	}
	testscript.Run(t, testscript.Params{
		Files: scripts(t),
		Setup: func(e *testscript.Env) error {
			home, bottles := filepath.Join(e.WorkDir, ".bot-bottle"), filepath.Join(e.WorkDir, ".bottles")
			e.Vars = append(e.Vars, "HOME="+e.WorkDir, "BOT_BOTTLE_HOME="+home, "BOT_BOTTLE_BACKEND="+memory.Name)
			d := backend(home, bottles)
			e.Values[place{}] = &desk{driver: d}
			e.Defer(func() {
				if err := d.Close(); err != nil {
					e.T().Fatal(err)
				}
			})
			return os.Mkdir(bottles, 0o755)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"bot-bottle": func(ts *testscript.TestScript, neg bool, args []string) {
				if neg {
					ts.Fatalf("say with which status: exits N bot-bottle …")
				}
				deskOf(ts).run(ts, 0, args)
			},
			"exits":       exits,
			"begin":       begin,
			"ends":        ends,
			"input":       func(ts *testscript.TestScript, _ bool, args []string) { deskOf(ts).input = ts.MkAbs(args[0]) },
			"remember":    remember,
			"like":        like,
			"eventually":  eventually,
			"kill-bundle": killBundle,
			"terminal":    onTerminal,
			"types":       types,
			"shows":       shows,
		},
		RequireUniqueNames: true,
	})
}

// scripts are all there are. None may leave anything out by itself.
func scripts(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("there is no script: %v", err)
	}
	evasive := regexp.MustCompile(`(?m)^\s*(skip|stop|\[)`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		told, _, _ := strings.Cut(string(text), "\n-- ")
		if evasive.MatchString(told) || !strings.HasPrefix(told, "# ") {
			t.Errorf("%s: a script opens with what it tells, and has neither skip, stop nor a condition", file)
		}
	}
	return files
}

// desk is where a script's operator sits.
type desk struct {
	driver *memory.Driver
	input  string             // of the next command; "" for none
	begun  map[string]*ending // by the name that begin was given
}

type place struct{}

func deskOf(ts *testscript.TestScript) *desk { return ts.Value(place{}).(*desk) }

// ending is a command that was left to run.
type ending struct {
	code   int
	output *output
	done   chan struct{}

	master *os.File // of its terminal, if it has one
	seen   int      // how much of that was looked at
}

// output is what a command prints, from whichever goroutine.
type output struct {
	mu             sync.Mutex
	stdout, stderr bytes.Buffer
}

func (o *output) to(b *bytes.Buffer) io.Writer { return &into{&o.mu, b} }

type into struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (w *into) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (o *output) show(ts *testscript.TestScript) {
	_, _ = ts.Stdout().Write(o.stdout.Bytes())
	_, _ = ts.Stderr().Write(o.stderr.Bytes())
}

func (d *desk) add(name string, e *ending) {
	if d.begun == nil {
		d.begun = map[string]*ending{}
	}
	d.begun[name] = e
}

// system is what the command line is given.
func (d *desk) system(ts *testscript.TestScript, args []string, o *output) (cli.System, error) {
	input := os.DevNull
	if d.input != "" {
		input, d.input = d.input, ""
	}
	stdin, err := os.Open(input)
	cwd := ts.MkAbs(".")
	env := map[string]string{}
	for _, name := range []string{"HOME", "BOT_BOTTLE_HOME", "BOT_BOTTLE_BACKEND", "PATH", "KEY", "TERM"} {
		env[name] = ts.Getenv(name)
	}
	return cli.System{
		Args: args, Stdin: stdin, Stdout: o.to(&o.stdout), Stderr: o.to(&o.stderr), Now: func() time.Time { return noon },
		Getenv: func(name string) string { return env[name] }, LookupEnv: func(name string) (string, bool) { return env[name], env[name] != "" },
		UserHome: func() (string, error) { return env["HOME"], nil }, Getwd: func() (string, error) { return cwd, nil }, Executable: os.Executable,
		Backends: func(*cli.App) ([]bottle.Backend, error) { return []bottle.Backend{bottle.Use(d.driver)}, nil },
	}, err
}

func (d *desk) main(ts *testscript.TestScript, args []string, o *output) (int, error) {
	s, err := d.system(ts, args, o)
	if err != nil {
		return 0, err
	}
	return cli.Main(context.Background(), s), s.Stdin.Close()
}

func (d *desk) run(ts *testscript.TestScript, want int, args []string) {
	o := &output{}
	code, err := d.main(ts, args, o)
	ts.Check(err)
	o.show(ts)
	if code != want {
		ts.Fatalf("got status %d, want %d", code, want)
	}
}

// exits N bot-bottle ARGS… runs it and wants a status.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	if err != nil || len(args) < 2 || args[1] != "bot-bottle" {
		ts.Fatalf("usage: exits N bot-bottle ARGS…")
	}
	deskOf(ts).run(ts, want, args[2:])
}

// begin NAME bot-bottle ARGS… leaves it running, as another terminal would.
func begin(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 || args[1] != "bot-bottle" {
		ts.Fatalf("usage: begin NAME bot-bottle ARGS…")
	}
	d, e := deskOf(ts), &ending{output: &output{}, done: make(chan struct{})}
	s, err := d.system(ts, args[2:], e.output)
	ts.Check(err)
	d.add(args[0], e)
	ctx, cancel := context.WithCancel(context.Background())
	ts.Defer(func() { cancel(); <-e.done })
	go func() {
		defer close(e.done)
		e.code = cli.Main(ctx, s)
		_ = s.Stdin.Close()
	}()
}

// ends NAME N waits for what was begun, shows what it printed, and wants a status.
func ends(ts *testscript.TestScript, _ bool, args []string) {
	e := deskOf(ts).begun[args[0]]
	<-e.done
	if e.master == nil {
		e.output.show(ts)
	}
	if strconv.Itoa(e.code) != args[1] {
		ts.Fatalf("got status %d, want %s", e.code, args[1])
	}
}

// remember NAME FILE PATTERN keeps what the pattern's group has matched in a file, stdout or stderr.
func remember(ts *testscript.TestScript, _ bool, args []string) {
	found := regexp.MustCompile(args[2]).FindStringSubmatch(ts.ReadFile(args[1]))
	if len(found) != 2 {
		ts.Fatalf("nothing in %s matches %s", args[1], args[2])
	}
	ts.Setenv(args[0], found[1])
}

// like FILE WANT compares as cmpenv does; … in WANT is anything on a line.
func like(ts *testscript.TestScript, neg bool, args []string) {
	got := ts.ReadFile(args[0])
	want := os.Expand(ts.ReadFile(args[1]), ts.Getenv)
	pattern := "(?s)^" + strings.ReplaceAll(regexp.QuoteMeta(want), "…", "[^\n]*") + "$"
	if regexp.MustCompile(pattern).MatchString(got) == neg {
		ts.Fatalf("%s is not like %s: %s", args[0], args[1], cmp.Diff(want, got))
	}
}

// eventually PATTERN bot-bottle ARGS… runs it again and again, until it exits with 0 and prints
// something that matches: what is waited for is done by a process that tells nobody.
func eventually(ts *testscript.TestScript, _ bool, args []string) {
	d, pattern := deskOf(ts), regexp.MustCompile("(?m)"+args[0])
	for late := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		o := &output{}
		code, err := d.main(ts, args[2:], o)
		ts.Check(err)
		if code == 0 && pattern.Match(o.stdout.Bytes()) {
			o.show(ts)
			return
		}
		if time.Now().After(late) {
			o.show(ts)
			ts.Fatalf("it never did")
		}
	}
}

// killBundle ID ends the parent of a bottle's services, as nobody asked for.
func killBundle(ts *testscript.TestScript, _ bool, args []string) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	ts.Check(err)
	killed := 0
	for _, file := range files {
		argv, _ := os.ReadFile(file) // it may have ended
		if words := string(argv); strings.Contains(words, "\x00sidecar\x00host\x00") && strings.Contains(words, "/"+args[0]+"/audit.jsonl\x00") {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			ts.Check(err)
			ts.Check(syscall.Kill(pid, syscall.SIGKILL))
			killed++
		}
	}
	if killed != 1 {
		ts.Fatalf("%s has %d bundles", args[0], killed)
	}
}
