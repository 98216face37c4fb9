package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/plain"
)

// home looks at $BOT_BOTTLE_HOME: whose it is, who else may read it, and what is in it.
func (h Host) home(context.Context) []bottle.Finding {
	info, err := os.Stat(h.Home)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []bottle.Finding{problem("home", "there is no "+h.Home+" yet", "bot-bottle init")}
	case err != nil:
		return []bottle.Finding{problem("home", err.Error(), "see who may enter the directories above it")}
	case !info.IsDir():
		return []bottle.Finding{problem("home", h.Home+" is not a directory", "move it out of the way, then: bot-bottle init")}
	}
	return slices.Concat(h.owner(info), h.open(), []bottle.Finding{h.writable(), h.manifest()})
}

func (h Host) owner(info os.FileInfo) []bottle.Finding {
	stat, known := info.Sys().(*syscall.Stat_t)
	if !known || int(stat.Uid) == os.Getuid() {
		return nil
	}
	return []bottle.Finding{problem("home", fmt.Sprintf("%s belongs to the user with id %d, and you are %d", h.Home, stat.Uid, os.Getuid()), "set BOT_BOTTLE_HOME to a directory of your own")}
}

// Loose are the directories of home that others than its owner may enter or change though
// they hold what is the operator's alone.
func (h Host) Loose() (loose []string) {
	for _, dir := range []string{h.Home, filepath.Join(h.Home, "state"), filepath.Join(h.Home, "cache")} {
		if info, err := os.Lstat(dir); err == nil && info.IsDir() && info.Mode().Perm()&0o077 != 0 {
			loose = append(loose, dir)
		}
	}
	return loose
}

func (h Host) open() (all []bottle.Finding) {
	for _, dir := range h.Loose() {
		all = append(all, note("home", "others may look into "+dir, "bot-bottle doctor --fix, or: chmod 700 "+dir))
	}
	return all
}

// Fix mends what is safe to mend: it closes the directories of Loose to others. It returns
// what it did.
func (h Host) Fix() (done []string, err error) {
	for _, dir := range h.Loose() {
		if failed := os.Chmod(dir, 0o700); failed != nil {
			err = errors.Join(err, failed)
			continue
		}
		done = append(done, "closed "+dir+" to others")
	}
	return done, err
}

// writable writes and syncs a file, as every start does.
func (h Host) writable() bottle.Finding {
	f, err := os.CreateTemp(h.Home, ".doctor-")
	if err != nil {
		return problem("home", "it cannot be written to: "+err.Error(), "no bottle starts that is not on record: see its owner and mode, and the disk")
	}
	_, err = f.WriteString("x")
	if err = errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name())); err != nil {
		return problem("home", "it cannot be written to: "+err.Error(), "see the disk that it is on")
	}
	var at unix.Statfs_t
	if unix.Statfs(h.Home, &at) == nil {
		if free := int64(at.Bavail) * int64(at.Bsize); free < 1<<30 { //nolint:unconvert // differs by system
			return note("home", fmt.Sprintf("only %d MiB are free at %s, where the records are", free>>20, h.Home), "make room there; bot-bottle cleanup --older-than 30d")
		}
	}
	return ok("home", h.Home)
}

func (h Host) manifest() bottle.Finding {
	m, err := manifest.Load(h.Home, "", h.UserHome)
	switch {
	case err != nil:
		return problem("manifest", err.Error(), "bot-bottle init")
	case len(m.Problems) > 0:
		return problem("manifest", plain.Count(len(m.Problems), "problem")+" in what is written in "+h.Home, "bot-bottle validate")
	case len(m.Agents) == 0:
		return problem("manifest", "there is no agent in "+h.Home, "bot-bottle init")
	}
	return ok("manifest", plain.Count(len(m.Agents), "agent")+", "+plain.Count(len(m.Bottles), "bottle")+", no problem")
}
