package gitgate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// room gives the gate so many bytes beyond what it has taken up so far.
func (l *lab) room(bytes int64) {
	l.t.Helper()
	l.fresh()
	l.server.volume.most = l.server.volume.used() + bytes
}

// stow pushes a small commit to a branch of this name, and with it so many bytes that no ref
// will lead to.
func (l *lab) stow(name string, size int) (said string, stowaway string) {
	l.t.Helper()
	p := &pack{}
	head := p.change(name+"\n", []string{l.theirs("refs/heads/main")}, p.file("a", name))
	stowaway = p.file("stowaway", noise(size, uint64(size))).id
	return l.send(wantsAll, p, command(noID, head, "refs/heads/agent/"+name)), stowaway
}

// Attack F8: a bottle pushes again and again, each time something large that no ref leads to
// later, or that waits for the operator, to fill the host's disk. There is a bound for all of
// it, also when the gate was started anew in between; a small push still passes below it.
func TestAttackF8_ManyPushesFillTheVolume(t *testing.T) {
	for _, hold := range []bool{false, true} {
		t.Run(fmt.Sprintf("hold %v", hold), func(t *testing.T) {
			l := newLab(t, func(c *control.GitConfig) { c.Repositories[0].Push.Hold = hold })
			l.room(1 << 20)
			if said, _ := l.stow("one", 600<<10); !passed(said, hold) {
				t.Fatal(said)
			}
			most := l.server.volume.most
			l.stop()
			l.start()
			l.fresh()
			l.server.volume.most = most
			said, _ := l.stow("two", 500<<10)
			why := "may take up "
			if hold {
				why = "waits for the operator already"
			}
			if passed(said, hold) || !strings.Contains(said, why) || l.theirs("refs/heads/agent/two") != "" {
				t.Errorf("a push goes over the bound: %s", said)
			}
			if said, _ := l.stow("three", 1000); !passed(said, hold) {
				t.Errorf("a small one does not pass: %s", said)
			}
		})
	}
}

func passed(said string, hold bool) bool {
	if hold {
		return strings.Contains(said, "NOT PUSHED YET")
	}
	return strings.Contains(said, "ok refs/heads/agent/")
}

// A gate that has run full of what no ref leads to clears it away, and has room again; what a
// push needs that waits for the operator stays.
func TestAFullGateClearsUp(t *testing.T) {
	l := newLab(t)
	l.room(1 << 20)
	said, stowaway := l.stow("one", 900<<10)
	if !passed(said, false) {
		t.Fatal(said)
	}
	mirror := filepath.Join(l.dir, "gate", "widget.git")
	write(t, filepath.Join(mirror, "objects", "pack", "pack-x.keep"), "of a push that was killed")
	if said, _ = l.stow("two", 400<<10); passed(said, false) || !strings.Contains(said, "The gate is clearing up: push again") {
		t.Fatalf("there is room: %s", said)
	}
	for range 100 { // until it has
		if said, _ = l.stow("two", 400<<10); passed(said, false) {
			break
		}
	}
	if !passed(said, false) {
		t.Errorf("there is no room after it has cleared up: %s", said)
	}
	if l.has(mirror, stowaway) {
		t.Error("the stowaway is still there")
	}
	l.git(mirror, "fsck", "--full", "--strict")
	l.git(l.clone(), "fsck")
}

// While the gate clears up, others fetch and push without end. None of them notices.
func TestClearingUpDisturbsNobody(t *testing.T) {
	l := newLab(t)
	seed := filepath.Join(l.dir, "seed")
	l.commit(seed, "large", noise(4<<20, 5))
	l.git(seed, "push", "-q", l.upstream, "main")
	l.fresh()
	ended := make(chan struct{})
	var clearing sync.WaitGroup
	cleared, inUse := 0, 0
	clearing.Go(func() {
		for {
			select {
			case <-ended:
				return
			default:
			}
			switch err := l.server.clearAway(t.Context()); {
			case err == nil:
				cleared++
			case strings.Contains(err.Error(), errInUse.Error()):
				inUse++
			default:
				t.Error(err)
			}
			time.Sleep(time.Millisecond)
		}
	})
	var working sync.WaitGroup
	for i := range 3 {
		dir := filepath.Join(t.TempDir(), "work")
		working.Go(func() {
			for j := range 4 {
				name := fmt.Sprintf("agent/%d-%d", i, j)
				for _, args := range [][]string{
					{"clone", "-q", l.url, dir}, {"-C", dir, "checkout", "-q", "-b", name}, {"-C", dir, "commit", "-q", "--allow-empty", "-m", name},
					{"-C", dir, "push", "-q", "origin", name}, {"-C", dir, "fetch", "-q"}, {"-C", dir, "fsck"},
				} {
					if out, err := l.try("/", args...); err != nil {
						t.Errorf("git %v: %v: %s", args, err, out)
					}
				}
				if err := os.RemoveAll(dir); err != nil {
					t.Error(err)
				}
			}
		})
	}
	working.Wait()
	close(ended)
	clearing.Wait()
	l.git(filepath.Join(l.dir, "gate", "widget.git"), "fsck", "--full", "--strict")
	if err := l.server.clearAway(t.Context()); err != nil {
		t.Errorf("when nobody is there: %v", err)
	}
	t.Logf("cleared %d times, put off %d times", cleared, inUse)
}

// A push that waits builds on what is not upstream any more. Clearing up leaves it what it needs.
func TestClearingUpLeavesWhatAHeldPushNeeds(t *testing.T) {
	l := newLab(t, func(c *control.GitConfig) { c.Repositories[0].Push.Hold = true })
	main := l.fresh()
	side := strings.TrimSpace(l.git(l.upstream, "commit-tree", "-p", main, "-m", "side", main+"^{tree}"))
	l.git(l.upstream, "update-ref", "refs/heads/side", side)
	l.fresh()
	p := &pack{}
	head := p.change("held\n", []string{side}, p.file("a", "x"))
	l.mustHold(p, command(noID, head, "refs/heads/agent/x"))
	l.git(l.upstream, "update-ref", "-d", "refs/heads/side")
	l.fresh()
	if err := l.server.clearAway(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := l.desk.decide(t, true); r.Decided.Result != control.Forwarded || l.theirs("refs/heads/agent/x") != head {
		t.Errorf("it became %q", r.Decided.Result)
	}
}

// The mirror of a repository that is taken back goes with the next clearing up.
func TestClearingUpForgetsWhatIsNobodys(t *testing.T) {
	l := newLab(t)
	l.clone()
	none := l.config
	none.Repositories = nil
	if err := l.server.Apply(none); err != nil {
		t.Fatal(err)
	}
	if err := l.server.clearAway(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(l.dir, "gate", "*.git")); len(left) > 0 {
		t.Errorf("there is %v", left)
	}
	if err := l.server.Apply(l.config); err != nil {
		t.Fatal(err)
	}
	l.clone()
}

// Attack F8: an upstream that the disk has no room for. It is given up before it has filled
// it, and the agent is told; what fits goes on.
func TestAttackF8_AnUpstreamThatIsTooLarge(t *testing.T) {
	l := newLab(t)
	work := l.clone()
	l.room(1 << 20)
	seed := filepath.Join(l.dir, "seed")
	for i := range 120 { // more than git would write one by one
		write(t, filepath.Join(seed, fmt.Sprint(i)), noise(30<<10, uint64(i)))
	}
	head := l.commit(seed, "large", noise(1<<20, 7))
	l.git(seed, "push", "-q", l.upstream, "main")
	l.refused(work, "remote: bot-bottle: the upstream of widget is too large", "fetch")
	if used := l.server.volume.used(); used > l.server.volume.most {
		t.Errorf("it takes up %d bytes of %d", used, l.server.volume.most)
	}
	l.empty("after an upstream that is too large")
	if left, _ := filepath.Glob(filepath.Join(l.dir, "gate", "widget.git", "objects", "pack", "*tmp_*")); len(left) > 0 {
		t.Errorf("what did not fit is left: %v", left)
	}
	objects := filepath.Join(l.upstream, "objects")
	if err := os.Rename(objects, objects+".away"); err != nil { // so that fetching them would say so
		t.Fatal(err)
	}
	if err := os.Mkdir(objects, 0o755); err != nil {
		t.Fatal(err)
	}
	l.refused(work, "remote: bot-bottle: the upstream of widget is too large", "fetch")
	if err := errors.Join(os.Remove(objects), os.Rename(objects+".away", objects)); err != nil {
		t.Fatal(err)
	}
	l.git(l.upstream, "update-ref", "refs/heads/main", head+"~1")
	l.git(work, "fetch", "-q")
}

// On machines the gate's directory is one of the operator's, which may be called as a pattern is.
func TestADirectoryThatLooksLikeAPattern(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "[a] *")
	write(t, filepath.Join(dir, "widget.git", "objects", "some"), strings.Repeat("x", 100))
	if used := (&volume{dir: dir}).used(); used < 100 {
		t.Errorf("it holds %d bytes", used)
	}
	h := &held{dir: filepath.Join(dir, "held", "some"), ID: "t-1", Push: control.HeldPush{Push: requests.Push{Repository: "widget"}}}
	if err := errors.Join(os.MkdirAll(h.dir, 0o700), h.write()); err != nil {
		t.Fatal(err)
	}
	s := &Server{Options: Options{Dir: dir}, waiting: make(map[string]*held)}
	if left := s.leftHeld(); len(left) != 1 || left[0].ID != "t-1" || !s.heldFor(&mirror{GitRepository: control.GitRepository{Name: "widget"}}) {
		t.Errorf("of the pushes that wait there are %d", len(left))
	}
	forgotten := filepath.Join(dir, "forgotten.git")
	write(t, filepath.Join(forgotten, "x"), "x")
	s.all = []*mirror{{dir: filepath.Join(dir, "widget.git")}}
	s.dropForgotten()
	if _, err := os.Stat(forgotten); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a mirror that is nobody's: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "widget.git")); err != nil {
		t.Error(err)
	}
}
