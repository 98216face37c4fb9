package provision

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/provider"
)

// maxSkill bounds what one skill may bring along, in bytes.
const maxSkill = 64 << 20

// Skills copies each skill's directory to where its provider looks. A symbolic link to a file
// of the skill is copied as that file; one to a directory, or to what is not the skill's, is
// refused rather than followed.
func Skills(a *Archive, skills []bottle.Skill) error {
	for _, skill := range skills {
		if err := copySkill(a, skill); err != nil {
			return fmt.Errorf("cannot copy skill %s: %w", skill.Name, err)
		}
	}
	return nil
}

func copySkill(a *Archive, skill bottle.Skill) error {
	root, err := os.OpenRoot(skill.Dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	var total int64
	return fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := root.Stat(name)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is not a regular file", name)
		}
		if total += info.Size(); total > maxSkill {
			return fmt.Errorf("it is larger than %d MiB", maxSkill>>20)
		}
		data, err := readExactly(root, name, info.Size())
		if err != nil {
			return err
		}
		a.Add(provider.File{
			Path: path.Join(skill.Target, name),
			Mode: int64(info.Mode().Perm() | 0o600), UID: provider.UID, Data: data,
		})
		return nil
	})
}

// readExactly refuses a file that holds more than its size says: one that grows.
func readExactly(root *os.Root, name string, size int64) ([]byte, error) {
	f, err := root.Open(name)
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
