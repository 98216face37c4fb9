//go:build linux

package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// operate returns a client of the bundle's control API.
func (r *running) operate() control.Client {
	return control.Client{Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(r.dir, "control"))
	}}
}

// exists asks the egress service whether a name does.
func (r *running) exists(t *testing.T, name string) bool {
	t.Helper()
	return strings.Contains(r.lookup(t, name), `"allowed":true`)
}

func TestTheOperatorChangesRoutes(t *testing.T) {
	r := launch(t, self(t), config(t))
	r.awaitReady(t)
	api := r.operate()
	now, err := api.Policy(t.Context())
	if err != nil || now.Revision != 1 || len(now.Routes) != 1 || len(now.Secrets) != 1 || now.Secrets[0] != "KEY" {
		t.Fatalf("got %+v, %v", now, err)
	}
	data, err := json.Marshal(now)
	if err != nil || strings.Contains(string(data), realKey) {
		t.Errorf("the key is in %s, %v", data, err)
	}
	routes := append(now.Routes, policy.Route{Host: "new.example"})
	changed, err := api.SetPolicy(t.Context(), 1, policy.Policy{Routes: routes})
	if err != nil || changed.Revision != 2 || len(changed.Routes) != 2 {
		t.Fatalf("got %+v, %v", changed, err)
	}
	var e audit.Event
	if line := r.line(t, &e); e.Kind != audit.Lifecycle || !strings.Contains(e.Reason, "1 route and 0 deny rules before, 2 and 0 now") {
		t.Errorf("got %s", line)
	}
	if !r.exists(t, "new.example") {
		t.Error("the new route is not in force")
	}
	if _, err := api.SetPolicy(t.Context(), 1, policy.Policy{}); !errors.Is(err, control.ErrConflict) {
		t.Errorf("a change of what is gone: %v", err)
	}
	if _, err := api.SetPolicy(t.Context(), 2, policy.Policy{Routes: []policy.Route{{Host: "*"}}}); err == nil || errors.Is(err, control.ErrConflict) {
		t.Errorf("a bad route: %v", err)
	}
	if !r.exists(t, "new.example") {
		t.Error("a refused change changed something")
	}
}

// A service that crashes comes back with what the operator last said, not with what it
// began with: or a route that was taken back would be open again.
func TestAttackG13_ACrashDoesNotBringARouteBack(t *testing.T) {
	r := launch(t, self(t), config(t))
	r.awaitReady(t)
	if _, err := r.operate().SetPolicy(t.Context(), 1, policy.Policy{Routes: []policy.Route{{Host: "other.example"}}}); err != nil {
		t.Fatal(err)
	}
	var e audit.Event
	r.line(t, &e) // the change
	kill(t)
	if r.line(t, &e); !strings.Contains(e.Reason, "started again") {
		t.Fatalf("got %+v", e)
	}
	if r.exists(t, "api.example") || !r.exists(t, "other.example") {
		t.Error("it began with the old routes")
	}
}

func TestTheOperatorReplacesASecret(t *testing.T) {
	r := launch(t, self(t), config(t))
	r.awaitReady(t)
	api := r.operate()
	if err := api.SetSecrets(t.Context(), []control.NewValue{{Name: "KEY", Value: "sk-another-0123456789"}}); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string]control.NewValue{"unknown": {Name: "NONE", Value: "x"}, "empty": {Name: "KEY"}, "line": {Name: "KEY", Value: "a\nb"}} {
		if err := api.SetSecrets(t.Context(), []control.NewValue{bad}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if now, err := api.Policy(t.Context()); err != nil || now.Revision != 2 {
		t.Errorf("got %+v, %v", now, err)
	}
}

// Attack G12: a service that was taken over, or the bottle, changes its own policy. The
// socket is not in the directory that the bottle sees, and opens to its owner only.
func TestAttackG12_TheControlSocketIsItsOwners(t *testing.T) {
	r := launch(t, self(t), config(t))
	r.awaitReady(t)
	info, err := os.Stat(filepath.Join(r.dir, "control"))
	if err != nil || info.Mode()&fs.ModePerm != 0o600 {
		t.Errorf("got %v, %v", info, err)
	}
	if strings.HasPrefix(control.Socket, control.SocketDir+"/") {
		t.Error("the bottle sees it")
	}
}

// A service that swallows a change is ended: nobody knows what it goes by. The bundle
// says so, and keeps what it had.
func TestAServiceThatSwallowsAChangeIsEnded(t *testing.T) {
	for name, answer := range map[string]string{"closes": "exec 4<&-", "nonsense": "echo nonsense >&4", "both": `echo '{"ready":true,"error":"no"}' >&4`} {
		t.Run(name, func(t *testing.T) {
			r := launch(t, script(t, `cat >/dev/null; echo '{"ready":true}'; read line <&4; `+answer+`; exec sleep 60`), config(t))
			r.awaitReady(t)
			if _, err := r.operate().SetPolicy(t.Context(), 1, policy.Policy{}); err == nil || !strings.Contains(err.Error(), "without it") {
				t.Errorf("got %v", err)
			}
			var e audit.Event
			if line := r.line(t, &e); !strings.Contains(e.Reason, "did not take over a change") {
				t.Errorf("got %s", line)
			}
			if now, err := r.operate().Policy(t.Context()); err != nil || now.Revision != 1 || len(now.Routes) != 1 {
				t.Errorf("got %+v, %v", now, err)
			}
		})
	}
}

// The diffs of the last pushes are kept, no more of them and no larger ones than agreed, whatever
// the gate hands in.
func TestTheDiffsOfPushesAreBounded(t *testing.T) {
	o := &operator{diffs: map[string]string{}}
	for i := range 3 * maxPushes {
		if err := o.Pushed(t.Context(), control.Pushed{Key: fmt.Sprintf("push-%d", i), Text: fmt.Sprint("diff ", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if len(o.pushed) != maxPushes || cap(o.pushed) > 4*maxPushes {
		t.Errorf("%d are kept", len(o.pushed))
	}
	if text, err := o.Diff("push-47"); err != nil || text != "diff 47" {
		t.Errorf("got %q, %v", text, err)
	}
	if _, err := o.Diff("push-3"); err == nil || !strings.Contains(err.Error(), "is not kept") {
		t.Errorf("got %v", err)
	}
	for _, p := range []control.Pushed{{Key: "push-x", Text: strings.Repeat("x", control.MaxPushed+1)}, {Key: "k7x2m4-1"}, {Key: "push-" + strings.Repeat("x", 90)}} {
		if o.Pushed(t.Context(), p) == nil {
			t.Errorf("%.20s of %d bytes was taken", p.Key, len(p.Text))
		}
	}
}
