package bottle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
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
		task(LeftVolume, "stuck", "b-bbbbbb", ""), task(LeftState, "b-bbbbbb", "b-bbbbbb", CloseIt),
		task(LeftContainer, "agent", "c-cccccc", ""), task(LeftState, "c-cccccc", "c-cccccc", CloseIt), task(LeftMachine, "gone", "c-cccccc", StopIt),
		task(LeftVolume, "busy", "d-dddddd", ""), task(LeftImage, "image", "", ""),
	}}
	now := Tasks{All: slices.Clone(plan.All)}
	now.All[5], now.All[6].Do = replaced, ""
	now.All = slices.Delete(now.All, 7, 8)
	stuck, busy := errors.New("stuck"), errors.New("busy")
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
		AtOnce: 1, Look: func(context.Context) (Tasks, error) { return now, nil },
		Lock: func(identity string) (func(), error) {
			if identity == "d-dddddd" {
				return nil, busy
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
		Shared: func(_ context.Context, tasks []Task, now Tasks, report Report) { now.DoEach(tasks, do, report) },
	}
	told := map[string]string{}
	if err := sweep.Run(t.Context(), plan, func(l Leftover, err error) { told[l.Identity+"/"+l.Name] = fmt.Sprint(err) }); err != nil {
		t.Fatal(err)
	}
	life := ErrCameToLife.Error()
	for what, want := range map[string]string{
		"a-aaaaaa/sockets": "<nil>", "a-aaaaaa/a-aaaaaa": "<nil>", "b-bbbbbb/stuck": "stuck", "b-bbbbbb/b-bbbbbb": "its record stays, since something else of it does",
		"c-cccccc/agent": life, "c-cccccc/c-cccccc": life, "c-cccccc/gone": life, "d-dddddd/busy": life, "/image": "<nil>",
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
	if want := []string{"a-aaaaaa", "image", "sockets", "stuck"}; !slices.Equal(did, want) {
		t.Errorf("did %v, want %v", did, want)
	}
}
