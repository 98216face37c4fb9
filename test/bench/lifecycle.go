package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/bot-bottle/bot-bottle/test/lab"
)

// Numbers of bottles that the issue gives.
const (
	manyBottles    = 50
	startsAtOnce   = 20
	startingAtOnce = 50 // while fifty are brought up, which is not measured
)

// measureLifecycle measures starts at once, resume, list and cleanup with many bottles, and
// what an idle one costs.
func measureLifecycle(ctx context.Context, l *lab.Lab) (all []figure, err error) {
	if _, err := stub(ctx, l, "quick", "echo up"); err != nil {
		return nil, err
	}
	if _, err := stub(ctx, l, "idle", "exec sleep infinity"); err != nil {
		return nil, err
	}
	if err := errors.Join(l.Write("bottles/asking.md", "---\nextends: idle\nsupervise: true\n---\n"), l.Write("agents/asking.md", "---\nbottle: asking\n---\n")); err != nil {
		return nil, err
	}
	f := &fleet{lab: l}
	defer func() { err = errors.Join(err, f.remove(context.WithoutCancel(ctx))) }()
	for _, measure := range []func(context.Context) ([]figure, error){f.measureResume, f.measureParallel, f.measureList, f.measureIdle, f.measureCleanup, f.measureSupervisedList} {
		got, err := measure(ctx)
		if err != nil {
			return all, err
		}
		all = append(all, got...)
	}
	return all, nil
}

// fleet are the bottles of a measurement.
type fleet struct {
	lab   *lab.Lab
	agent string // "" is idle

	mu         sync.Mutex
	identities []string
}

// run runs a verb that has to succeed, and takes its time.
func (f *fleet) run(ctx context.Context, args ...string) (lab.Result, time.Duration, error) {
	began := time.Now()
	r, err := f.lab.Run(ctx, nil, args...)
	took := time.Since(began)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("bot-bottle %s: status %d: %s", strings.Join(args, " "), r.Code, r.Stderr)
	}
	return r, took, err
}

// start starts so many idle bottles, some at once.
func (f *fleet) start(ctx context.Context, n, atOnce int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for range n {
		group.Go(func() error {
			r, _, err := f.run(ctx, "start", "-y", "--detach", cmp.Or(f.agent, "idle"))
			if err == nil {
				f.mu.Lock()
				f.identities = append(f.identities, strings.TrimSpace(r.Stdout))
				f.mu.Unlock()
			}
			return err
		})
	}
	return group.Wait()
}

func (f *fleet) remove(ctx context.Context) error {
	if len(f.identities) == 0 {
		return nil
	}
	_, _, err := f.run(ctx, append([]string{"rm", "--force"}, f.identities...)...)
	f.identities = nil
	return err
}

// measureResume compares a resume with a start of the same agent, which ends at once.
func (f *fleet) measureResume(ctx context.Context) ([]figure, error) {
	var starts, resumes []time.Duration
	for range rounds {
		_, took, err := f.run(ctx, "start", "-y", "quick")
		if err != nil {
			return nil, err
		}
		starts = append(starts, took)
		identity, err := f.newest(ctx)
		if err != nil {
			return nil, err
		}
		if _, took, err = f.run(ctx, "resume", "-y", identity); err != nil {
			return nil, err
		}
		resumes = append(resumes, took)
		if _, _, err := f.run(ctx, "rm", "-y", identity); err != nil {
			return nil, err
		}
	}
	return []figure{
		atMost("lifecycle.resume_of_start", median(resumes).Seconds()/median(starts).Seconds(), "×", 1.2),
		report("lifecycle.start_ms", ms(median(starts)), "ms"), report("lifecycle.resume_ms", ms(median(resumes)), "ms"),
	}, nil
}

// newest is the one bottle on record that can be resumed.
func (f *fleet) newest(ctx context.Context) (string, error) {
	r, _, err := f.run(ctx, "list", "all", "--json")
	if err != nil {
		return "", err
	}
	var all []struct{ Identity, State string }
	if err := json.Unmarshal([]byte(r.Stdout), &all); err != nil {
		return "", err
	}
	for _, l := range all {
		if l.State == "ended" && strings.HasPrefix(l.Identity, "quick-") {
			return l.Identity, nil
		}
	}
	return "", errors.New("no bottle ended")
}

// measureParallel compares twenty starts at once with one.
func (f *fleet) measureParallel(ctx context.Context) ([]figure, error) {
	var one []time.Duration
	for range 5 {
		began := time.Now()
		if err := f.start(ctx, 1, 1); err != nil {
			return nil, err
		}
		one = append(one, time.Since(began))
	}
	began := time.Now()
	if err := f.start(ctx, startsAtOnce, startsAtOnce); err != nil {
		return nil, err
	}
	all := time.Since(began)
	bare, err := f.bare(ctx)
	if err != nil {
		return nil, err
	}
	return []figure{
		bare,
		atMost("lifecycle.20_starts_of_one", all.Seconds()/median(one).Seconds(), "×", 6),
		report("lifecycle.detached_start_ms", ms(median(one)), "ms"), report("lifecycle.20_starts_s", all.Seconds(), "s"),
	}, nil
}

// bare is the same ratio of bare containers of the same image, which the engine alone makes.
func (f *fleet) bare(ctx context.Context) (figure, error) {
	found, err := f.lab.Engine.ContainerInspect(ctx, "bot-bottle-"+f.identities[0]+"-agent", client.ContainerInspectOptions{})
	if err != nil {
		return figure{}, err
	}
	label := "bot-bottle.bench=" + filepath.Base(f.lab.Home)
	run := func(n int) (time.Duration, error) {
		var group errgroup.Group
		began := time.Now()
		for range n {
			group.Go(func() error {
				return exec.CommandContext(ctx, "docker", "run", "-d", "--label", label, "--entrypoint", "sleep", found.Container.Image, "infinity").Run()
			})
		}
		err := group.Wait()
		return time.Since(began), err
	}
	var one []time.Duration
	for range 5 {
		took, err := run(1)
		if err != nil {
			return figure{}, err
		}
		one = append(one, took)
	}
	all, err := run(startsAtOnce)
	left, listErr := f.lab.Engine.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("label", label)})
	for _, c := range left.Items {
		_, removeErr := f.lab.Engine.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true})
		err = errors.Join(err, removeErr)
	}
	return report("lifecycle.20_bare_runs_of_one", all.Seconds()/median(one).Seconds(), "×"), errors.Join(err, listErr)
}

// measureList takes list active with fifty bottles.
func (f *fleet) measureList(ctx context.Context) ([]figure, error) {
	if err := f.start(ctx, manyBottles-len(f.identities), startingAtOnce); err != nil {
		return nil, err
	}
	took, err := f.timeList(ctx)
	return []figure{atMost("lifecycle.list_50_ms", ms(took), "ms", 150)}, err
}

// measureSupervisedList is measureList with bottles whose agents may ask: of each it has to be found
// out whether it has a git-gate by now.
func (f *fleet) measureSupervisedList(ctx context.Context) (all []figure, err error) {
	if err := f.remove(ctx); err != nil {
		return nil, err
	}
	asking := &fleet{lab: f.lab, agent: "asking"}
	defer func() { err = errors.Join(err, asking.remove(context.WithoutCancel(ctx))) }()
	if err := asking.start(ctx, manyBottles, startingAtOnce); err != nil {
		return nil, err
	}
	took, err := asking.timeList(ctx)
	return []figure{atMost("lifecycle.list_50_supervised_ms", ms(took), "ms", 150)}, err
}

func (f *fleet) timeList(ctx context.Context) (time.Duration, error) {
	var took []time.Duration
	for range rounds {
		r, once, err := f.run(ctx, "list", "active")
		if err != nil {
			return 0, err
		}
		if got := strings.Count(r.Stdout, "\n") - 1; got != manyBottles {
			return 0, fmt.Errorf("list shows %d bottles", got)
		}
		took = append(took, once)
	}
	return median(took), nil
}

// idleTime is how long idle bottles are watched.
const idleTime = 20 * time.Second

// measureIdle takes what an idle bottle costs: all processes of both containers, what they
// wrote beside the image, and processor time. It needs a local engine.
func (f *fleet) measureIdle(ctx context.Context) ([]figure, error) {
	pids, err := f.processes(ctx)
	if err != nil {
		return nil, err
	}
	before, err := ticks(pids)
	if err != nil {
		return nil, err
	}
	select {
	case <-time.After(idleTime):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	after, err := ticks(pids)
	if err != nil {
		return nil, err
	}
	var memory float64
	for _, pid := range pids {
		kib, err := pss(pid)
		if err != nil {
			return nil, err
		}
		memory += kib / 1024
	}
	disk, err := f.disk(ctx)
	n := float64(len(f.identities))
	return []figure{
		report("lifecycle.idle_pss_mb", memory/n, "MiB"),
		atMost("lifecycle.idle_disk_mb", disk/n/1e6, "MB", 5),
		report("lifecycle.idle_cpu_percent", (after-before)/n/idleTime.Seconds(), "%"), // a tick is a hundredth of a second
	}, err
}

func (f *fleet) processes(ctx context.Context) (pids []string, err error) {
	for _, identity := range f.identities {
		for _, role := range []string{"agent", "sidecar"} {
			top, err := f.lab.Engine.ContainerTop(ctx, "bot-bottle-"+identity+"-"+role, client.ContainerTopOptions{Arguments: []string{"-eo", "pid,args"}})
			if err != nil {
				return nil, err
			}
			for _, process := range top.Processes {
				pids = append(pids, process[0])
			}
		}
	}
	return pids, nil
}

// ticks are the processor times of processes, in user and in kernel mode (proc(5), stat).
func ticks(pids []string) (sum float64, err error) {
	for _, pid := range pids {
		data, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil {
			return 0, err
		}
		fields := strings.Fields(string(data[strings.LastIndex(string(data), ")")+1:]))
		for _, text := range fields[11:13] {
			n, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return 0, err
			}
			sum += n
		}
	}
	return sum, nil
}

// disk is what the bottles' containers, volumes and records hold, in bytes.
func (f *fleet) disk(ctx context.Context) (sum float64, err error) {
	usage, err := f.lab.Engine.DiskUsage(ctx, client.DiskUsageOptions{Containers: true, Volumes: true, Verbose: true})
	for err != nil && strings.Contains(err.Error(), "already running") && ctx.Err() == nil { // for somebody else
		time.Sleep(100 * time.Millisecond)
		usage, err = f.lab.Engine.DiskUsage(ctx, client.DiskUsageOptions{Containers: true, Volumes: true, Verbose: true})
	}
	if err != nil {
		return 0, err
	}
	ours := func(name string) bool {
		for _, identity := range f.identities {
			if strings.Contains(name, identity) {
				return true
			}
		}
		return false
	}
	for _, found := range usage.Containers.Items {
		if ours(strings.Join(found.Names, " ")) {
			sum += float64(found.SizeRw)
		}
	}
	for _, v := range usage.Volumes.Items {
		if ours(v.Name) && v.UsageData != nil {
			sum += float64(v.UsageData.Size)
		}
	}
	err = filepath.Walk(filepath.Join(f.lab.Home, "state"), func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			sum += float64(info.Size())
		}
		return err
	})
	return sum, err
}

// measureCleanup kills all containers of fifty bottles, which leaves two containers, a volume
// and an open record each, and takes a cleanup.
func (f *fleet) measureCleanup(ctx context.Context) ([]figure, error) {
	group, grouped := errgroup.WithContext(ctx)
	group.SetLimit(startingAtOnce)
	for _, identity := range f.identities {
		group.Go(func() error {
			for _, role := range []string{"agent", "sidecar"} {
				if _, err := f.lab.Engine.ContainerKill(grouped, "bot-bottle-"+identity+"-"+role, client.ContainerKillOptions{Signal: "SIGKILL"}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	r, took, err := f.run(ctx, "cleanup", "-y", "--json")
	if err != nil {
		return nil, err
	}
	if got := strings.Count(r.Stdout, `"removed": true`); got < 4*manyBottles {
		return nil, fmt.Errorf("cleanup removed %d things", got)
	}
	return []figure{atMost("lifecycle.cleanup_200_s", took.Seconds(), "s", 10)}, nil
}
