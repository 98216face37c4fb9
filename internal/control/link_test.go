package control

import (
	"context"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// waits answers nobody who waits, until it is over.
type waits struct {
	Counter
	arrived, over chan struct{}
}

func (w waits) Wait(context.Context, string, time.Duration) (requests.Request, error) {
	w.arrived <- struct{}{}
	<-w.over
	return requests.Request{}, nil
}

func (waits) List(context.Context) ([]requests.Request, error) { return nil, nil }

// Attack J4: an agent has more questions open at a time than the link to the parent carries. Those
// that do not fit wait, and the link, the only one that there is, goes on.
func TestAttackJ4_MoreQuestionsThanTheLinkCarries(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ours, theirs := net.Pipe()
	const many = 2 * maxStreams
	desk := waits{arrived: make(chan struct{}, many), over: make(chan struct{})}
	var serving sync.WaitGroup
	serving.Go(func() { ServeCounter(ctx, ours, desk) })
	t.Cleanup(func() { cancel(); serving.Wait() })
	client := NewCounterClient(theirs)
	answers := make(chan error, many)
	for range many {
		go func() {
			_, err := client.Wait(ctx, "k7x2m4-1", time.Minute)
			answers <- err
		}()
	}
	for range maxStreams {
		select {
		case <-desk.arrived:
		case err := <-answers:
			close(desk.over)
			_, after := client.List(ctx)
			t.Fatalf("one that waits was told %v, and who asks after it %v", err, after)
		}
	}
	close(desk.over)
	for range many {
		if err := <-answers; err != nil {
			t.Errorf("one that waits was told %v", err)
		}
	}
	if _, err := client.List(ctx); err != nil {
		t.Errorf("after that: %v", err)
	}
}

// holds takes every push.
type holds struct{ Holder }

func (holds) Hold(context.Context, HeldPush) (requests.Request, error) {
	return requests.Request{ID: "k7x2m4-1"}, nil
}

// A service may have nothing to ask for hours, and again for hours between two questions.
func TestALinkOutlivesSilence(t *testing.T) {
	emptyPools()
	t.Cleanup(emptyPools)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ours, theirs := net.Pipe()
		served := make(chan struct{})
		go func() { defer close(served); ServeHolder(ctx, ours, holds{}) }()
		client := NewHolderClient(theirs)
		for range 2 {
			time.Sleep(3 * time.Hour)
			if r, err := client.Hold(ctx, HeldPush{}); err != nil || r.ID != "k7x2m4-1" {
				t.Errorf("got %v, %v", r, err)
			}
		}
		cancel()
		<-served
	})
}

// emptyPools takes out of every sync.Pool what is in it, by two collections: x/net/http2 keeps channels in
// one, and a bubble's are of no use outside of it, nor others in it.
func emptyPools() {
	runtime.GC()
	runtime.GC()
}
