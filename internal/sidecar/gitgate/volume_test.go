package gitgate

import (
	"fmt"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/control"
)

// Attack F8: a bottle pushes again and again, each time something large that no ref leads to
// later, or that waits for the operator, to fill the host's disk. There is a bound for all of
// it, also when the gate was started anew in between; a small push still passes below it.
func TestAttackF8_ManyPushesFillTheVolume(t *testing.T) {
	for _, hold := range []bool{false, true} {
		t.Run(fmt.Sprintf("hold %v", hold), func(t *testing.T) {
			l := newLab(t, func(c *control.GitConfig) { c.Repositories[0].Push.Hold = hold })
			main := l.fresh()
			l.server.volume.most = 1 << 20
			push := func(name string, size int) string {
				p := &pack{}
				head := p.change(name+"\n", []string{main}, p.file("a", name))
				p.file("stowaway", noise(size, uint64(size)))
				return l.send(wantsAll, p, command(noID, head, "refs/heads/agent/"+name))
			}
			if said := push("one", 400<<10); !passed(said, hold) {
				t.Fatal(said)
			}
			l.stop()
			l.start()
			l.fresh()
			l.server.volume.most = 1 << 20
			said := push("two", 900<<10)
			why := "may take up 1 MiB"
			if hold {
				why = "waits for the operator already"
			}
			if passed(said, hold) || !strings.Contains(said, why) || l.theirs("refs/heads/agent/two") != "" {
				t.Errorf("a push goes over the bound: %s", said)
			}
			if said := push("three", 1000); !passed(said, hold) {
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
