package bottle

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Attack E6: a bottle from which the operator pulls sends nothing, or stops in the middle, or
// sends a byte now and then for ever. The pull ends and says so.
func TestAttackE6_ASilentBottleIsGivenUp(t *testing.T) {
	patience := Patience{Silence: time.Minute, Whole: time.Hour}
	for name, c := range map[string]struct {
		every time.Duration // between bytes; 0 for none
		after time.Duration // when it is given up
		why   string
	}{
		"silent":    {0, time.Minute, "sent nothing for 1m0s"},
		"trickling": {59 * time.Second, time.Hour, "not done after 1h0m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				ctx, to, stop := patience.Watch(t.Context(), &bytes.Buffer{})
				defer stop()
				for c.every > 0 && ctx.Err() == nil {
					_, _ = to.Write([]byte("x"))
					select {
					case <-time.After(c.every):
					case <-ctx.Done():
					}
				}
				<-ctx.Done()
				if why := context.Cause(ctx).Error(); !strings.Contains(why, c.why) || time.Since(began) != c.after {
					t.Errorf("after %s: %s", time.Since(began), why)
				}
			})
		})
	}
}

// A slow operator's side is not the bottle's silence.
func TestASlowReaderIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, to, stop := Patience{time.Minute, time.Hour}.Watch(t.Context(), slow{})
		defer stop()
		if _, err := to.Write([]byte("x")); err != nil || ctx.Err() != nil {
			t.Errorf("%v, %v", err, context.Cause(ctx))
		}
	})
}

type slow struct{}

func (slow) Write(p []byte) (int, error) {
	time.Sleep(5 * time.Minute)
	return len(p), nil
}
