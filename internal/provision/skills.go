package provision

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/provider"
)

// maxSkill bounds what one skill may bring along, in bytes.
const maxSkill = 64 << 20

// Skills copies each skill's directory into the agent's home. A symbolic link to a
// file is copied as that file; one to a directory is refused rather than followed.
func Skills(a *Archive, skills []bottle.Skill) error {
	for _, skill := range skills {
		if err := copySkill(a, skill); err != nil {
			return fmt.Errorf("cannot copy skill %s: %w", skill.Name, err)
		}
	}
	return nil
}

func copySkill(a *Archive, skill bottle.Skill) error {
	root, err := filepath.EvalSymlinks(skill.Dir)
	if err != nil {
		return err
	}
	var total int64
	return filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is not a regular file", name)
		}
		if total += info.Size(); total > maxSkill {
			return fmt.Errorf("it is larger than %d MiB", maxSkill>>20)
		}
		data, err := readExactly(name, info.Size())
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		a.Add(provider.File{
			Path: path.Join(provider.Home, ".claude", "skills", skill.Name, filepath.ToSlash(relative)),
			Mode: int64(info.Mode().Perm() | 0o600), UID: provider.UID, Data: data,
		})
		return nil
	})
}

// readExactly refuses a file that holds more than its size says: one that grows, or one of
// /proc, where a link to self/environ would carry the operator's keys into the bottle.
func readExactly(name string, size int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, size+1))
	if err == nil && int64(len(data)) != size {
		err = fmt.Errorf("%s is not the size that it says", name)
	}
	return data, err
}
