package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lock keeps two processes of one operator from building the same image twice. The
// kernel releases it with the process (flock(2)).
func (b Builder) lock(ctx context.Context, ref string, say func(string)) (unlock func(), err error) {
	if err := os.MkdirAll(b.CacheDir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot use the cache: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(b.CacheDir, "build-"+hash([]byte(ref))+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot use the cache: %w", err)
	}
	for waited := false; ; waited = true {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(err, f.Close())
		}
		if !waited {
			say("another bot-bottle is building " + ref + "; waiting for it")
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		}
	}
}
