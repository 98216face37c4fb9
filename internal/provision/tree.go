package provision

import (
	"archive/tar"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/bot-bottle/bot-bottle/internal/provider"
)

// WriteTree writes a file or a tree as an archive under another name. What is in it belongs to the
// agent's user. Links are copied as they are; what is neither file, directory nor link is left out.
func WriteTree(w io.Writer, root, name string) error {
	t := tar.NewWriter(w)
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		return writeEntry(t, file, path.Join(name, filepath.ToSlash(relative)), d)
	})
	if err != nil {
		return err
	}
	return t.Close()
}

func writeEntry(t *tar.Writer, file, name string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	link := ""
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		if link, err = os.Readlink(file); err != nil {
			return err
		}
	case !info.Mode().IsRegular() && !info.IsDir():
		return nil
	}
	header, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	header.Name, header.Uid, header.Gid, header.Uname, header.Gname = name, provider.UID, provider.UID, "", ""
	header.Mode &= 0o777
	if err := t.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	_, err = io.Copy(t, io.LimitReader(f, header.Size))
	return err
}
