package login

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lock is a file that one process at a time has. What was refused last stands in it.
type lock struct{ *os.File }

// take waits until nobody else has it. It ends with the process that has it, however that
// ends; whoever took it closes it.
func take(ctx context.Context, path string) (_ lock, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return lock{}, fmt.Errorf("cannot lock codex's login: %w", err)
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return lock{f}, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return lock{}, errors.Join(fmt.Errorf("cannot lock codex's login: %w", err), f.Close())
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return lock{}, errors.Join(errors.New("another process takes too long to refresh codex's login"), f.Close())
		}
	}
}

// refusal is a refresh token that the server did not take.
type refusal struct {
	Token string    `json:"token"` // its SHA-256, in hex
	At    time.Time `json:"at"`
}

// refusedFor is how long a refusal counts: it may have been a mistake.
const refusedFor = time.Hour

// refused reports whether the server has refused this refresh token a short while ago.
func (l lock) refused(token string, now time.Time) bool {
	var last refusal
	if err := json.NewDecoder(io.NewSectionReader(l.File, 0, maxFile)).Decode(&last); err != nil {
		return false // none, or half of one
	}
	return last.Token == hashOf(token) && now.Sub(last.At).Abs() < refusedFor
}

// remember keeps a refusal. Without it, the token is sent once more.
func (l lock) remember(token string, now time.Time) {
	data, err := json.Marshal(refusal{hashOf(token), now})
	if err == nil && l.Truncate(0) == nil {
		_, _ = l.WriteAt(data, 0)
	}
}

func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}
