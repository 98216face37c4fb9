package control

import (
	"context"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// holds takes every push.
type holds struct{ Holder }

func (holds) Hold(context.Context, HeldPush) (requests.Request, error) {
	return requests.Request{ID: "k7x2m4-1"}, nil
}

// A service may have nothing to ask for hours, and again for hours between two questions.
func TestALinkOutlivesSilence(t *testing.T) {
	runtime.GC() // x/net/http2 keeps channels in a sync.Pool, which two collections empty: one that
	runtime.GC() // an earlier run of this has made is of no use in another bubble
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
