package docker

import (
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

func TestDiagnose(t *testing.T) {
	c, err := client.New(client.WithHost("tcp://127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	oldest, err := client.New(client.WithHost("tcp://127.0.0.1:1"), client.WithAPIVersion("1.40"))
	if err != nil {
		t.Fatal(err)
	}
	old := &Driver{Client: oldest}
	d, now := &Driver{Client: c, Now: time.Now}, time.Now()
	for name, f := range map[string]struct {
		got   bottle.Finding
		level bottle.Level
		want  string
	}{
		"windows containers": {d.engine(system.Info{OSType: "windows"}), bottle.LevelProblem, "need Linux containers"},
		"another machine":    {d.engine(system.Info{OSType: "linux", Architecture: "s390x"}), bottle.LevelNote, "s390x"},
		"no seccomp":         {kernelPolicy(system.Info{SecurityOptions: []string{"name=apparmor"}}), bottle.LevelProblem, "no seccomp"},
		"seccomp":            {kernelPolicy(system.Info{SecurityOptions: []string{"name=seccomp,profile=default", "name=selinux"}}), bottle.LevelOK, "seccomp, selinux"},
		"SELinux":            {d.selinux(system.Info{SecurityOptions: []string{"name=seccomp", "name=selinux"}}), bottle.LevelOK, "share a label"},
		"SELinux, unused":    {judgeSELinux(false, true), bottle.LevelNote, "enforces SELinux"},
		"no SELinux":         {d.selinux(system.Info{}), bottle.LevelOK, "no SELinux"},
		"an old engine":      {old.engine(system.Info{OSType: "linux", Architecture: "x86_64"}), bottle.LevelProblem, "need API 1.41"},
		"clocks":             {clock(system.Info{SystemTime: now.Format(time.RFC3339Nano)}, now)[0], bottle.LevelOK, "is this host's"},
		"no gVisor":          {runtimes(system.Info{DefaultRuntime: "runc"}), bottle.LevelNote, "not on gVisor"},
		"gVisor":             {runtimes(system.Info{Runtimes: map[string]system.RuntimeWithStatus{"runsc": {Runtime: system.Runtime{Args: []string{"--host-uds=all"}}}}}), bottle.LevelOK, "gVisor is ready"},
		"no memory limit":    {limits(system.Info{PidsLimit: true, CPUCfsQuota: true})[0], bottle.LevelProblem, "cannot limit memory"},
		"clocks apart":       {clock(system.Info{SystemTime: now.Add(-2 * time.Hour).Format(time.RFC3339Nano)}, now)[0], bottle.LevelProblem, "2h0m0s apart"},
	} {
		if f.got.Level != f.level || !strings.Contains(f.got.Text, f.want) || f.got.Area != "docker" || (f.level == bottle.LevelOK) != (f.got.Fix == "") {
			t.Errorf("%s: got %+v; want %s with %q", name, f.got, f.level, f.want)
		}
	}
	if all := limits(system.Info{MemoryLimit: true, PidsLimit: true, CPUCfsQuota: true}); len(all) != 0 {
		t.Errorf("got %+v", all)
	}
}
