package bottle

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// Patience bounds how long one waits for a bottle that sends.
type Patience struct {
	Silence time.Duration // between two writes
	Whole   time.Duration // for all of it: a byte now and then is no way to go on for ever
}

// Watch ends ctx, with a cause, when nothing more is written to the returned writer within p.
// How long w takes does not count as silence. stop ends the watch.
func (p Patience) Watch(ctx context.Context, w io.Writer) (watched context.Context, to io.Writer, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	silence := time.AfterFunc(p.Silence, func() { cancel(fmt.Errorf("the bottle has sent nothing for %s", p.Silence)) })
	whole := time.AfterFunc(p.Whole, func() { cancel(fmt.Errorf("the bottle is not done after %s", p.Whole)) })
	return ctx, &watch{w: w, silence: silence, limit: p.Silence}, func() {
		silence.Stop()
		whole.Stop()
		cancel(nil)
	}
}

// watch must not be more than a writer: io.Copy would go past Write by its ReadFrom.
type watch struct {
	mu      sync.Mutex
	w       io.Writer
	silence *time.Timer
	limit   time.Duration
}

func (w *watch) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silence.Stop()
	defer w.silence.Reset(w.limit)
	return w.w.Write(p)
}
