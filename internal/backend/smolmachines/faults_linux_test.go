package smolmachines

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/plain"
)

// A bottle comes up, its agent is heard and its status is known; no argument and no variable that
// smolvm was given holds what it must not.
func TestABottleComesUp(t *testing.T) {
	h := open(t)
	b, err := h.launch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	code, err := b.Agent(t.Context(), bottle.IO{Stdout: &out, Stderr: &out})
	if err != nil || code != 0 || !strings.Contains(out.String(), "bot-bottle") {
		t.Errorf("got %d, %v, %q", code, err, out.String())
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	calls, err := os.ReadFile(filepath.Join(h.data, "calls.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, never := range []string{realKey, "SSH_AUTH_SOCK", "HTTPS_PROXY", "SMOLVM_EGRESS_FLOOR", "ANTHROPIC_API_KEY", `"--net"`, `"--port"`, `"--volume"`, `"--env"`} {
		if strings.Contains(string(calls), never) {
			t.Errorf("smolvm was given %s", never)
		}
	}
	if !strings.Contains(string(calls), "SMOLVM_LANDLOCK") {
		t.Error("the machine's process was not kept to its own files")
	}
	if err := bottle.Use(h.Driver).Remove(t.Context(), b.Name()); err != nil {
		t.Error(err)
	}
	h.nothingLeft("removed")
}

// Whatever is wrong with the program on PATH is told with what to do, and is no backend.
func TestAvailableSaysWhatIsWrong(t *testing.T) {
	h := open(t)
	if err := h.Available(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		faults map[string]string
		want   string
	}{
		"another product":  {map[string]string{"product": "other"}, "another program of this name"},
		"old":              {map[string]string{"version": "1.8.3"}, "1.8.3 is too old"},
		"no version":       {map[string]string{"version": "\x1b]0;owned\x07"}, "does not say what version"},
		"no machines":      {map[string]string{"without": "create"}, "has no machine create"},
		"list is garbage":  {map[string]string{"ls": "garbage"}, "no list of machines"},
		"list is empty":    {map[string]string{"ls": "empty"}, "no list of machines"},
		"list is huge":     {map[string]string{"ls": "huge"}, "printed more than"},
		"database is gone": {map[string]string{"ls": "broken"}, "database disk image is malformed"},
	} {
		h.faults(c.faults)
		err := h.Available(t.Context())
		var told interface{ Hint() string }
		if err == nil || !strings.Contains(err.Error(), c.want) || !errors.As(err, &told) || strings.ContainsAny(err.Error(), "\x1b\x07") {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := h.launch(t.Context()); err == nil {
			t.Errorf("%s: a bottle was launched", name)
		}
	}
	h.env["PATH"] = t.TempDir()
	if err := h.Available(t.Context()); !errors.Is(err, bottle.ErrAbsent) {
		t.Errorf("without it: got %v", err)
	}
	h.nothingLeft("unusable")
}

// Each flag that a bottle's life needs is looked for before anything is made: a smolvm without it
// would fail half way, or at the end.
func TestEveryFlagIsLookedFor(t *testing.T) {
	h := open(t)
	for verb, flags := range needed() {
		for _, flag := range flags {
			h.faults(map[string]string{"without": verb + " " + flag})
			_, err := bottle.Use(h.Driver).Prepare(t.Context(), h.spec())
			var told interface{ Hint() string }
			want := "does not know machine " + verb + " " + flag + ","
			if verb == "ls" { // it is tried out
				want = "does not list its machines"
			}
			if err == nil || !strings.Contains(err.Error(), want) || !errors.As(err, &told) || told.Hint() == "" {
				t.Errorf("%s %s: got %v", verb, flag, err)
			}
		}
	}
	h.faults(nil)
	b := h.waiting()
	for _, streams := range []bottle.IO{{}, {Stdin: strings.NewReader("")}, {TTY: true, Stdout: io.Discard}} {
		if _, err := b.Run(t.Context(), []string{control.Binary, "version"}, bottle.Node, streams); err != nil {
			t.Error(err)
		}
	}
	h.crash(b)
	h.remove(b)
	calls, err := os.ReadFile(filepath.Join(h.data, "calls.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(calls)) {
		var call struct{ Argv []string }
		if err := json.Unmarshal([]byte(line), &call); err != nil {
			t.Fatal(err)
		}
		for _, arg := range call.Argv {
			if arg == "--" {
				break
			}
			if strings.HasPrefix(arg, "--") && len(call.Argv) > 2 && arg != "--help" && !slices.Contains(needed()[call.Argv[1]], arg) {
				t.Errorf("%v was called, and %s was not looked for", call.Argv, arg)
			}
		}
	}
}

// A flag is only known if it is one of its own.
func TestAFlagIsAWord(t *testing.T) {
	for help, want := range map[string]bool{
		"  -n, --mem <MIB>\n": true, "--mem": true, "      --mem=<MIB>": true, "[--mem MIB]": true,
		"--memory": false, "--mem-max": false, "--no--mem": false, "x--mem": false, "mem": false, "": false,
	} {
		if got := tells(help, "--mem"); got != want {
			t.Errorf("%q: got %t", help, got)
		}
	}
}

// Attack J3: a machine that is not as it must be, or that smolvm does not say to be so: it has a
// network, ports, directories of the host, others' labels; or what smolvm says of it cannot be
// understood. No agent is started in it, and nothing is left.
func TestAttackJ3_NoAgentInAnotherMachine(t *testing.T) {
	for name, c := range map[string]struct {
		faults map[string]string
		want   string
	}{
		"network":        {map[string]string{"network": "true"}, "has a network"},
		"ports":          {map[string]string{"ports": "1"}, "published ports"},
		"mounts":         {map[string]string{"mounts": "2"}, "sees directories of this host"},
		"no network":     {map[string]string{"absent": "network"}, "does not say that it has none"},
		"no ports":       {map[string]string{"absent": "ports"}, "does not say that it has none"},
		"no mounts":      {map[string]string{"absent": "mounts"}, "does not say that it sees none"},
		"no image":       {map[string]string{"absent": "image"}, "not the archive that it was made of"},
		"another image":  {map[string]string{"image": "local:" + strings.Repeat("0", 64)}, "not the archive that it was made of"},
		"network wrong":  {map[string]string{"wrong": "network"}, "its answer is not about the machine"},
		"labels wrong":   {map[string]string{"wrong": "labels"}, "its answer is not about the machine"},
		"another name":   {map[string]string{"absent": "name"}, "its answer is not about the machine"},
		"no labels":      {map[string]string{"labels": "none"}, "does not carry this bottle's labels"},
		"state":          {map[string]string{"start": "after broken"}, "malformed"},
		"landlock":       {map[string]string{"landlock": "not supported by this kernel"}, "landlock"},
		"no hypervisor":  {map[string]string{"start": "kvm"}, "kvm not available"},
		"not allowed":    {map[string]string{"start": "permission"}, "kvm permission denied"},
		"no rootfs":      {map[string]string{"start": "rootfs"}, "agent rootfs not found"},
		"no entitlement": {map[string]string{"start": "entitlement"}, "krun_start_enter"},
		"create fails":   {map[string]string{"create": "broken"}, "malformed"},
		"create is late": {map[string]string{"create": "after broken"}, "malformed"},
		"create lies":    {map[string]string{"create": "empty"}, "does not carry this bottle's labels"},
		"start lies":     {map[string]string{"start": "garbage"}, "is not running"},
		"exec is lost":   {map[string]string{"exec": "lost"}, "connection to VM lost"},
		"exec babbles":   {map[string]string{"exec": "garbage"}, "cannot bring"},
		"exec floods":    {map[string]string{"exec": "huge"}, "cannot bring"},
		"exec is silent": {map[string]string{"exec": "empty"}, "cannot bring the bottle into its machine"}, // EOF, or a pipe that nobody reads
		"init fails":     {map[string]string{"start": "init"}, "init[0] failed"},
		"no status":      {map[string]string{"status": "garbage"}, "its answer is not about the machine"},
		"status is huge": {map[string]string{"status": "huge"}, "printed more than"},
		"status is gone": {map[string]string{"status": "empty"}, "its answer is not about the machine"},
		"start is late":  {map[string]string{"start": "after lost"}, "connection to VM lost"},
		"delete lies":    {map[string]string{"start": "kvm", "delete": "empty once"}, "kvm not available"},
		"delete fails":   {map[string]string{"start": "kvm", "delete": "broken once"}, "kvm not available"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := open(t)
			h.faults(c.faults)
			b, err := h.launch(t.Context())
			if err == nil {
				t.Fatal(errors.Join(errors.New("it was launched"), b.Close()))
			}
			var told interface{ Hint() string }
			if hinted := name == "landlock" || strings.HasPrefix(c.faults["start"], "k") || c.faults["start"] == "permission" || c.faults["start"] == "rootfs" || c.faults["start"] == "entitlement"; hinted && !errors.As(err, &told) {
				t.Errorf("nothing is said about what to do: %v", err)
			}
			if !strings.Contains(err.Error(), c.want) || strings.ContainsAny(err.Error(), "\x1b\x07\x00") || strings.Contains(err.Error(), "already") {
				t.Errorf("got %v, want %s", err, c.want)
			}
			h.nothingLeft(name)
		})
	}
}

// A machine that ends under a bottle says why, to whoever ran something in it and whoever comes
// later. What is on its console is as hostile as what is in it.
func TestAMachineThatEndsSaysWhy(t *testing.T) {
	h := open(t)
	b, err := h.launch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(b.Close(), bottle.Use(h.Driver).Remove(context.WithoutCancel(t.Context()), b.Name())); err != nil {
			t.Error(err)
		}
	}()
	waiting, typing := io.Pipe()
	defer func() { _ = typing.Close() }()
	failed := make(chan error, 1)
	go func() {
		_, err := b.Run(t.Context(), []string{control.Binary, "guest", "prove"}, bottle.Node, bottle.IO{Stdin: waiting})
		failed <- err
	}()
	h.called(`"guest","prove"`)
	h.endMachine("\x1b]0;owned\x07\n")
	_, later := b.Run(t.Context(), []string{control.Binary, "version"}, bottle.Node, bottle.IO{})
	for when, err := range map[string]error{"meanwhile": <-failed, "later": later} {
		if err == nil || !strings.Contains(err.Error(), "the machine ended by itself: signal: killed") || strings.ContainsAny(err.Error(), "\x1b\x07") {
			t.Errorf("%s: got %v", when, err)
		}
	}
}

// A connection that is lost to a machine whose process goes on is told of, and smolvm is not
// asked again and again whether it does: each of its answers takes a connection of every machine.
func TestAMachineThatGoesOnIsNotWaitedFor(t *testing.T) {
	h := open(t)
	b := h.waiting()
	h.faults(map[string]string{"exec": "lost"})
	calls := filepath.Join(h.data, "calls.jsonl")
	if err := os.Remove(calls); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Run(t.Context(), []string{control.Binary, "version"}, bottle.Node, bottle.IO{}); err == nil || !strings.Contains(err.Error(), "connection to VM lost") {
		t.Errorf("got %v", err)
	}
	said, err := os.ReadFile(calls)
	if asked := strings.Count(string(said), "\n"); err != nil || asked > 3 {
		t.Errorf("smolvm was called %d times: %v", asked, err)
	}
	h.faults(nil)
	h.crash(b)
	h.remove(b)
}

// A copy that fails says why, also when what failed said nothing.
func TestASilentFailureSaysWhatItCan(t *testing.T) {
	h := open(t)
	b := h.waiting()
	files, err := h.Files(t.Context(), b.Name())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(h.home, "image.tar")
	for fault, want := range map[string]string{"silent": "in the bottle failed with status 1 and said nothing", "killed": "in the bottle was ended by a signal (killed)", "garbage": "the bottle does not say what it is"} {
		h.faults(map[string]string{"exec": fault})
		got := map[string]error{"copy in": b.CopyIn(t.Context(), file, "/workspace/x"), "put": files.Put(t.Context(), "/workspace", strings.NewReader(""))}
		_, got["look"] = files.Stat(t.Context(), "/workspace")
		archive, err := files.Get(t.Context(), "/workspace")
		if err == nil {
			_, err = io.Copy(io.Discard, archive)
			err = errors.Join(err, archive.Close())
		}
		got["get"] = err
		if fault == "garbage" { // its status is 0
			got = map[string]error{"look": got["look"]}
		}
		for what, err := range got {
			if err == nil || !strings.Contains(err.Error(), want) || strings.HasSuffix(err.Error(), ": ") || strings.ContainsAny(err.Error(), "\x1b\x07") {
				t.Errorf("%s, %s: got %v", fault, what, err)
			}
		}
	}
	h.faults(nil)
	h.crash(b)
	h.remove(b)
}

// What a console is in place of a file is not read, and not waited for.
func TestAConsoleThatIsNone(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, put := range map[string]func(at string) error{
		"nothing":           func(string) error { return nil },
		"a link outside":    func(at string) error { return os.Symlink(outside, at) },
		"a fifo":            func(at string) error { return unix.Mkfifo(at, 0o600) },
		"a directory":       func(at string) error { return os.Mkdir(at, 0o700) },
		"control sequences": func(at string) error { return os.WriteFile(at, []byte("x\n\x1b[2J\x07\n"), 0o600) },
	} {
		dir := t.TempDir()
		if err := put(filepath.Join(dir, consoleFile)); err != nil {
			t.Fatal(err)
		}
		if got := lastLine(dir); strings.Contains(got, "secret") || strings.ContainsAny(got, "\x1b\x07") {
			t.Errorf("%s: got %q", name, got)
		}
	}
	dir := t.TempDir()
	long := strings.Repeat("a", 3*plain.TailSize) + "\n" + strings.Repeat("b", 2*consoleWidth) + "\n\n"
	if err := os.WriteFile(filepath.Join(dir, consoleFile), []byte(long), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := lastLine(dir); !strings.HasPrefix(got, "bbb") || plain.Width(got) > consoleWidth {
		t.Errorf("a long one: got %q", got)
	}
}

// A smolvm that hangs is given up when the operator does.
func TestAHangingSmolvmIsGivenUp(t *testing.T) {
	for verb, called := range map[string]string{"status": `"status","--name"`, "exec": `"guest","bring"`, "create": `"create","--name"`, "start": `"start","--name"`} {
		h := open(t)
		began := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		plan, err := bottle.Use(h.Driver).Prepare(ctx, h.spec())
		if err != nil {
			t.Fatal(err)
		}
		h.faults(map[string]string{verb: "hang"})
		done := make(chan error, 1)
		go func() {
			_, err := plan.Launch(ctx, nil)
			done <- err
		}()
		h.called(called)
		h.faults(nil) // so that it can be cleaned up
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want context.Canceled", verb, err)
		}
		h.nothingLeft(verb)
		if took := time.Since(began); took > wholeGrace+30*time.Second {
			t.Errorf("%s: it took %s", verb, took)
		}
	}
}

// Attack D4: the archive in the cache is not what it was made as.
func TestAttackJ3_AChangedArchiveIsNotRun(t *testing.T) {
	h := open(t)
	plan, err := bottle.Use(h.Driver).Prepare(t.Context(), h.spec())
	if err != nil {
		t.Fatal(err)
	}
	if err := plan.MakeImages(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(h.archives(), "*.tar"))
	if err != nil || len(files) != 1 {
		t.Fatalf("got %v, %v", files, err)
	}
	f, err := os.OpenFile(files[0], os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		_, err = f.WriteString("more")
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := plan.Launch(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "was changed since it was made") {
		t.Errorf("got %v", err)
	}
	h.nothingLeft("changed")
}

// What the guest finds decides, whatever smolvm says of the machine.
func TestTheSelfCheckDecides(t *testing.T) {
	fine := control.Found{Interfaces: []string{"lo"}, PID1: true}
	if err := fine.Err(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*control.Found){
		"an interface": func(f *control.Found) { f.Interfaces = append(f.Interfaces, "eth0") },
		"none":         func(f *control.Found) { f.Interfaces = nil },
		"a route":      func(f *control.Found) { f.Routes = 1 },
		"the Internet": func(f *control.Found) { f.Reached = []string{"1.1.1.1:53"} },
		"a service":    func(f *control.Found) { f.Silent = []control.Service{control.Egress} },
		"another init": func(f *control.Found) { f.PID1 = false },
	} {
		f := fine
		spoil(&f)
		if f.Err() == nil {
			t.Errorf("%s: nothing was wrong with %+v", name, f)
		}
	}
}
