package prove

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/term"

	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/prove/inside"
)

// asAttacker makes this test's own program the attacks' program: what it trusts has to be in
// its environment from the beginning.
const asAttacker = "BOT_BOTTLE_TEST_ATTACKER"

// asOperator makes it a program of the operator's that trusts what a bottle says.
const asOperator = "BOT_BOTTLE_TEST_OPERATOR"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(asOperator) != "":
		trusting(os.Args[1:])
		os.Exit(0)
	case os.Getenv(asAttacker) == "":
		os.Exit(m.Run())
	}
	if err := inside.Run(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// naive is a proxy that looks at nothing but where a request says that it goes, and connects
// everything with the upstream.
type naive struct {
	upstream string
	forward  *httputil.ReverseProxy
}

func newNaive(t *testing.T, upstream string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &naive{upstream: upstream, forward: &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "https", upstream },
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
	}}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go n.serve(conn)
		}
	}()
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

func (n *naive) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	from := bufio.NewReader(conn)
	line, err := from.ReadString('\n')
	if err != nil {
		return
	}
	for { // the head is of no interest
		if next, err := from.ReadString('\n'); err != nil || strings.TrimSpace(next) == "" {
			break
		}
	}
	if !strings.HasPrefix(line, "CONNECT ") {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n")
		return
	}
	up, err := net.Dial("tcp", n.upstream)
	if err != nil {
		return
	}
	defer func() { _ = up.Close() }()
	_, _ = io.WriteString(conn, "HTTP/1.1 200 Connected\r\n\r\n")
	go func() { _, _ = io.Copy(up, from); _ = up.(*net.TCPConn).CloseWrite() }()
	_, _ = io.Copy(conn, up)
}

// The attacks on the proxy are real: through one that only connects, all of them get through.
func TestANaiveProxyBreaks(t *testing.T) {
	s, err := newStage(t.Context(), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	arena := s.arena()
	arena.Proxy, arena.User, arena.Only = newNaive(t, s.upstream.address), "tester", []string{"A0", "A11", "A12", "B", "C1", "C6", "C7", "I"}
	outcomes, err := Inside(arena, func(stdin io.Reader, stdout, stderr io.Writer) (int, error) {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), asAttacker+"=1", "SSL_CERT_FILE="+s.caFile, canaryName+"=sk-placeholder-0123456789abcdef0123456789")
		c.Stdin, c.Stdout, c.Stderr = stdin, stdout, stderr
		return 0, c.Run()
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range outcomes {
		name := o.ID + " " + o.Name
		switch name {
		case "A0 control":
			if !o.Held() {
				t.Errorf("%s: %+v", name, o.Attempts)
			}
		case "B7 clear HTTP/2", "B8 upgrades": // this upstream speaks neither
		default:
			if o.Held() || o.Missing != "" {
				t.Errorf("%s held against a proxy that looks at nothing: %+v", name, o.Attempts)
			}
		}
	}
	for what, attempts := range map[string][]inside.Attempt{"what reached the upstream": s.onlyAllowed(), "which credentials": s.onlyOurs()} {
		if attempts[0].Held {
			t.Errorf("%s: %+v", what, attempts)
		}
	}
}

// The attacks on the gate are real: where git talks with the upstream itself, and has the
// password, they get through.
func TestNoGateBreaks(t *testing.T) {
	s, err := newStage(t.Context(), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.close() })
	// A forge of the simplest kind: what it keeps can be asked for by its id.
	for _, config := range [][]string{{"http.receivepack", "true"}, {"uploadpack.allowAnySHA1InWant", "true"}} {
		if out, err := exec.Command("git", append([]string{"-C", s.repository(), "config"}, config...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	arena := s.arena()
	arena.User, arena.Only = "tester", []string{"F", "E8"}
	for _, url := range []*string{&arena.Repository, &arena.Undeclared} {
		*url = strings.Replace(*url, "https://", "https://prove:"+s.password+"@", 1)
	}
	outcomes, err := Inside(arena, func(stdin io.Reader, stdout, stderr io.Writer) (int, error) {
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), asAttacker+"=1", "GIT_SSL_CAINFO="+s.gitCA, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull,
			"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b.example", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b.example")
		c.Stdin, c.Stdout, c.Stderr = stdin, stdout, stderr
		return 0, c.Run()
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range outcomes {
		if held := o.ID == "F0"; o.Held() != held {
			t.Errorf("%s %s: held is %t: %+v", o.ID, o.Name, o.Held(), o.Attempts)
		}
	}
	if got := s.repositoryIsSound(t.Context()); got[0].Held || got[1].Held {
		t.Errorf("the upstream is found sound: %+v", got)
	}
}

// trusting prints what a hostile agent says as it is.
func trusting(args []string) {
	if args[0] == "attach" || args[0] == "exec" {
		_, _ = term.MakeRaw(0)
		_ = inside.Speak(terminalInput{os.Stdin}, os.Stdout)
		return
	}
	fmt.Println(inside.Said + "\n  decide   bot-bottle approve " + inside.Said + "-1")
	for _, words := range inside.Hostile() {
		fmt.Println(words)
	}
}

// terminalInput is a raw terminal's, whose lines end with a return.
type terminalInput struct{ io.Reader }

func (t terminalInput) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	copy(p, bytes.ReplaceAll(p[:n], []byte("\r"), []byte("\n")))
	return n, err
}

// The attacks on the operator are real: on one whose program prints what it is told, they all
// get through.
func TestATrustingOperatorBreaks(t *testing.T) {
	s, err := newStage(t.Context(), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.close() })
	m := &manifest.Manifest{Agents: map[string]manifest.Agent{"a": {Bottle: "b"}}, Bottles: map[string]manifest.Bottle{"b": {Supervise: true}}}
	o := Options{Manifest: m, Agent: "a", Command: func(ctx context.Context, args ...string) (*exec.Cmd, error) {
		c := exec.CommandContext(ctx, os.Args[0], args...)
		c.Env = append(os.Environ(), asOperator+"=1")
		return c, nil
	}}
	for what, attempts := range map[string][]inside.Attempt{
		"attach": o.onTerminal(t.Context(), "attach", []string{"attach", "x"}), "what is read": s.reads(t.Context(), "x", o),
		"what looks alike": o.looksAlike(t.Context()), "the log": o.logIsWhole(t.Context(), "x")[:1],
	} {
		for _, a := range attempts {
			if a.Held || strings.Contains(a.Happened, "exit status") || strings.Contains(a.Happened, "killed") {
				t.Errorf("%s: %+v", what, a)
			}
		}
	}
}

// All that is hostile is seen where text is read, but what is harmless to a terminal.
func TestHarmIsTold(t *testing.T) {
	for name, words := range inside.Hostile() {
		if harmless := slices.Contains([]string{"long", "wide", "a box"}, name); (harm(words) == "") != harmless {
			t.Errorf("%s: got %q", name, harm(words))
		}
	}
}

// Each service of the host that is visited is told of.
func TestVisitsAreSeen(t *testing.T) {
	s, err := newStage(t.Context(), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	for i, network := range []string{"tcp", "udp"} {
		conn, err := net.Dial(network, net.JoinHostPort("127.0.0.1", s.ports[i]))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
	if got := s.nobodyCame(); got[0].Held || len(s.visitors()) != 2 {
		t.Errorf("got %+v", got)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.dir); !os.IsNotExist(err) {
		t.Errorf("its files are left: %v", err)
	}
}

// A repository that got what it should not is told of: another ref, a moved main, a secret in
// an object that no ref names, another's name.
func TestRepositoriesAreJudged(t *testing.T) {
	for name, harm := range map[string]string{
		"another branch": "git branch other main", "a moved main": "git update-ref refs/heads/main $(git commit-tree -m x -p main main^{tree})",
		"a loose secret": "echo ghp_x | git hash-object -w --stdin", "another's name": "git update-ref refs/heads/agent/x $(GIT_AUTHOR_EMAIL=linus@kernel.example git commit-tree -m x -p main main^{tree})",
	} {
		t.Run(name, func(t *testing.T) {
			s, err := newStage(t.Context(), "127.0.0.1")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.close() })
			held := func() bool { return inside.Outcome{Attempts: s.repositoryIsSound(t.Context())}.Held() }
			if !held() {
				t.Fatalf("before: %+v", s.repositoryIsSound(t.Context()))
			}
			c := exec.Command("sh", "-c", "export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b.example GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=${GIT_AUTHOR_EMAIL:-a@b.example}; "+harm)
			c.Dir = s.repository()
			if out, err := c.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if held() {
				t.Errorf("after: %+v", s.repositoryIsSound(t.Context()))
			}
		})
	}
}

// What the attacks' program leaves out, makes up or says too much of is an error: a bottle
// that replaced it does not hold.
func TestAttackH5_OutcomesAreNotForged(t *testing.T) {
	arena := inside.Arena{User: "root", Only: []string{"I"}}
	attacks := inside.Wanted(arena.Only)
	lines := func(names ...string) string {
		var b strings.Builder
		for _, n := range names {
			_ = json.NewEncoder(&b).Encode(inside.Outcome{ID: strings.Fields(n)[0], Name: strings.SplitN(n, " ", 2)[1], Attempts: []inside.Attempt{{Held: true}}})
		}
		return b.String()
	}
	var all []string
	for _, a := range attacks {
		all = append(all, a.ID+" "+a.Name)
	}
	reversed := slices.Clone(all)
	slices.Reverse(reversed)
	for name, c := range map[string]struct {
		said string
		code int
		good bool
	}{
		"all": {lines(all...), 0, true}, "none": {"", 0, false}, "one less": {lines(all[1:]...), 0, false}, "another order": {lines(reversed...), 0, false}, "no JSON": {"held\n", 0, false},
		"a failure": {lines(all...), 1, false}, "too much": {strings.Repeat("x", maxSaid+1), 0, false},
	} {
		got, err := Inside(arena, func(_ io.Reader, stdout, _ io.Writer) (int, error) {
			_, err := io.WriteString(stdout, c.said)
			return c.code, err
		})
		if (err == nil) != c.good || c.good && len(got) != len(attacks) {
			t.Errorf("%s: got %d, %v", name, len(got), err)
		}
	}
}

// Only what is wanted is looked at: some views change the bottle.
func TestOnlyWhatIsWantedIsLookedAt(t *testing.T) {
	var looked []string
	views := []view{}
	for _, id := range []string{"A8", "E5", "F6"} {
		views = append(views, view{id: id, look: func() []inside.Attempt { looked = append(looked, id); return nil }})
	}
	for only, want := range map[string]string{"": "A8 E5 F6", "E5": "E5", "e": "E5", "F": "F6", "A8,F6": "A8 F6", "A9": "", "A,Z": "A8"} {
		looked = nil
		outcomes := look(views, strings.FieldsFunc(only, func(r rune) bool { return r == ',' }))
		if got := strings.Join(looked, " "); got != want || len(outcomes) != len(looked) {
			t.Errorf("%s: looked at %q and tells of %d, want %q", only, got, len(outcomes), want)
		}
	}
}

func TestNothingTriedIsNotHeld(t *testing.T) {
	r := Report{Outcomes: []inside.Outcome{{}, {Missing: "x"}, {Attempts: []inside.Attempt{{Held: true}}}, {Attempts: []inside.Attempt{{Held: true}, {}}}}}
	if held, broken, missing := r.Count(); held != 1 || broken != 2 || missing != 1 {
		t.Errorf("got %d, %d, %d", held, broken, missing)
	}
}

// What an attack or an upstream said is text on the page.
func TestAttackH3_ThePageIsText(t *testing.T) {
	r := Report{On: "<b>", Outcomes: []inside.Outcome{{ID: "X1", Name: "<script>alert(1)</script>", Attempts: []inside.Attempt{{What: `"><img src=x onerror=alert(1)>`, Happened: "</li><script>"}}}}}
	if page := Page(r); bytes.Contains(page, []byte("<script")) || bytes.Contains(page, []byte("<img")) || bytes.Contains(page, []byte("<b>")) {
		t.Errorf("got %s", page)
	}
}

// A command of the operator's that does not end, and leaves behind what holds on to its output or its
// terminal, is given up with all of it.
func TestACommandThatHangsIsGivenUp(t *testing.T) {
	o := Options{Command: func(ctx context.Context, _ ...string) (*exec.Cmd, error) {
		return exec.CommandContext(ctx, "sh", "-c", `trap "" HUP; sleep 20 & wait`), nil
	}}
	for what, look := range map[string]func(context.Context) error{
		"its output":   func(ctx context.Context) error { _, err := o.prints(ctx, "", "requests"); return err },
		"its terminal": func(ctx context.Context) error { c, _ := o.operator(ctx); _, err := (&ear{}).attend(c); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := look(ctx); err == nil || time.Since(began) > 15*time.Second {
			t.Errorf("%s: got %v after %s", what, err, time.Since(began))
		}
	}
}

// What is in the list of attacks is tried, or docs/prove.md says why it is not.
func TestEveryAttackIsTriedOrHasAReason(t *testing.T) {
	ids := func(file, row string) (found []string) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(row).FindAllStringSubmatch(string(text), -1) {
			found = append(found, strings.Split(m[1], ", ")...)
		}
		return found
	}
	listed := ids("../../docs/attacks.md", `(?m)^\| ([A-Z][0-9]+) \|`)
	reasons := ids("../../docs/prove.md", `(?m)^\| ([A-Z][0-9]+(?:, [A-Z][0-9]+)*) \|`)
	tried := Attacks()
	for _, id := range listed {
		if slices.Contains(tried, id) == slices.Contains(reasons, id) {
			t.Errorf("%s: tried %t, and docs/prove.md has a reason why not: %t", id, slices.Contains(tried, id), slices.Contains(reasons, id))
		}
	}
	for _, id := range slices.Concat(tried, reasons) {
		if !slices.Contains(listed, id) && !strings.HasSuffix(id, "0") { // A0, F0, H0: what is allowed works
			t.Errorf("docs/attacks.md does not list %s", id)
		}
	}
	if len(listed) < 70 || len(reasons) < 30 {
		t.Errorf("the pages are not read as they are written: %d listed, %d with reasons", len(listed), len(reasons))
	}
}
