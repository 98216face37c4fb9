package bottle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/state"
)

// A cleanup removes what it showed and what still is so; it leaves alone what another process is
// at work on; a record stays when something that it leads to does.
func TestSweep(t *testing.T) {
	task := func(kind LeftoverKind, name, identity string, do Action) Task {
		return Task{Leftover: Leftover{Kind: kind, Name: name, Identity: identity}, Do: do}
	}
	kept := task(LeftVolume, "work", "a-aaaaaa", "")
	kept.Kept = true
	replaced := task(LeftContainer, "agent", "c-cccccc", "")
	replaced.ID = "another"
	plan := Tasks{All: []Task{
		task(LeftVolume, "sockets", "a-aaaaaa", ""), kept, task(LeftState, "a-aaaaaa", "a-aaaaaa", ""),
		task(LeftContainer, "stuck", "b-bbbbbb", ""), task(LeftContainer, "bundle", "b-bbbbbb", ""), task(LeftVolume, "used", "b-bbbbbb", ""), task(LeftState, "b-bbbbbb", "b-bbbbbb", CloseIt),
		task(LeftContainer, "agent", "c-cccccc", ""), task(LeftState, "c-cccccc", "c-cccccc", CloseIt), task(LeftMachine, "gone", "c-cccccc", StopIt),
		task(LeftVolume, "busy", "d-dddddd", ""), task(LeftImage, "image", "", ""),
		task(LeftVolume, "denied", "e-eeeeee", ""), task(LeftVolume, "unseen", "f-ffffff", ""),
	}, Options: CleanupOptions{OlderThan: time.Hour}}
	now := Tasks{All: slices.Clone(plan.All)}
	now.All[7], now.All[8].Do = replaced, ""
	now.All = slices.Delete(now.All, 9, 10)
	stuck, denied, unseen := errors.New("stuck"), errors.New("permission denied"), errors.New("no engine")
	var did []string
	do := func(task Task) error {
		did = append(did, task.Name)
		if task.Name == "stuck" {
			return stuck
		}
		return nil
	}
	locked := 0
	sweep := Sweep{
		AtOnce: 1,
		Look: func(_ context.Context, o CleanupOptions) (Tasks, error) {
			if locked != 1 || o.OlderThan != time.Hour {
				t.Errorf("looked with %d locks held, for %+v", locked, o)
			}
			if o.Identity == "f-ffffff" {
				return Tasks{}, unseen
			}
			return Tasks{All: slices.DeleteFunc(slices.Clone(now.All), func(task Task) bool { return task.Identity != o.Identity })}, nil
		},
		Lock: func(identity string) (func(), error) {
			switch identity {
			case "d-dddddd":
				return nil, fmt.Errorf("it: %w", state.ErrLocked)
			case "e-eeeeee":
				return nil, denied
			}
			locked++
			return func() { locked-- }, nil
		},
		Clean: func(_ context.Context, _ string, tasks []Task, now Tasks, report Report) {
			if locked != 1 {
				t.Errorf("%d locks are held", locked)
			}
			now.DoEach(tasks, do, report)
		},
		Shared: func(_ context.Context, tasks []Task, report Report) { now.DoEach(tasks, do, report) },
	}
	told := map[string]string{}
	if err := sweep.Run(t.Context(), plan, func(l Leftover, err error) { told[l.Identity+"/"+l.Name] = fmt.Sprint(err) }); err != nil {
		t.Fatal(err)
	}
	life, stays := ErrCameToLife.Error(), "it stays, since something else of its bottle does"
	for what, want := range map[string]string{
		"a-aaaaaa/sockets": "<nil>", "a-aaaaaa/a-aaaaaa": "<nil>", "b-bbbbbb/stuck": "stuck", "b-bbbbbb/bundle": "<nil>", "b-bbbbbb/used": stays, "b-bbbbbb/b-bbbbbb": stays,
		"c-cccccc/agent": life, "c-cccccc/c-cccccc": life, "c-cccccc/gone": life, "d-dddddd/busy": life, "/image": "<nil>",
		"e-eeeeee/denied": "permission denied", "f-ffffff/unseen": "cannot look again: no engine",
	} {
		if told[what] != want {
			t.Errorf("%s: got %q, want %q", what, told[what], want)
		}
		delete(told, what)
	}
	if len(told) > 0 || locked != 0 {
		t.Errorf("told of more: %v, %d locks are held", told, locked)
	}
	slices.Sort(did)
	if want := []string{"a-aaaaaa", "bundle", "image", "sockets", "stuck"}; !slices.Equal(did, want) {
		t.Errorf("did %v, want %v", did, want)
	}
}

// A bottle that somebody resumes after a cleanup was begun, and that has ended again when the
// cleanup gets to it, has work in it that is not old: what is judged is how it is by then.
func TestSweepLooksAgainUnderTheLock(t *testing.T) {
	old := Task{Leftover: Leftover{Kind: LeftVolume, Name: "workspace", Identity: "a-aaaaaa"}}
	now := Tasks{All: []Task{old}}
	sweep := Sweep{
		AtOnce: 1,
		Lock: func(string) (func(), error) {
			now = Tasks{} // whoever resumed it has just let go of it
			return func() {}, nil
		},
		Look: func(context.Context, CleanupOptions) (Tasks, error) { return now, nil },
		Clean: func(_ context.Context, _ string, tasks []Task, now Tasks, report Report) {
			now.DoEach(tasks, func(Task) error { t.Error("its workspace is removed"); return nil }, report)
		},
	}
	told := 0
	if err := sweep.Run(t.Context(), Tasks{All: []Task{old}}, func(_ Leftover, err error) {
		if told++; !errors.Is(err, ErrCameToLife) {
			t.Errorf("got %v", err)
		}
	}); err != nil || told != 1 {
		t.Errorf("told %d times, %v", told, err)
	}
}
