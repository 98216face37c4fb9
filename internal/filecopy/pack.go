// Package filecopy carries files and trees between this host and a bottle as tar archives.
//
// What comes out of a bottle is hostile. Nothing of it is followed here: no link, neither one
// of the archive's own nor one that is there already; nothing leads out of the directory that
// it is unpacked in, now or later; nothing keeps a bit that gives rights; and nothing that
// some program of the operator's would obey by itself is written unless it was asked for.
package filecopy

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// Pack writes a file or a tree as an archive in which it is called name and is owned by uid.
// Links are copied as they are, never followed. leave is told what is neither file, directory
// nor link, and therefore left out; it may be nil.
func Pack(w io.Writer, root, name string, uid int, leave func(path string)) error {
	t := tar.NewWriter(w)
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() && !info.IsDir() && info.Mode()&fs.ModeSymlink == 0 {
			if leave != nil {
				leave(file)
			}
			return nil
		}
		return packEntry(t, file, path.Join(name, filepath.ToSlash(relative)), uid, info)
	})
	if err != nil {
		return err
	}
	return t.Close()
}

// Stream packs a file or a tree, as Pack does, while unpack reads the archive. The error is why it
// could not be packed, else unpack's.
func Stream(root, name string, uid int, unpack func(archive io.Reader) error) error {
	reader, writer := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := Pack(writer, root, name, uid, nil)
		_ = writer.CloseWithError(err)
		packed <- err
	}()
	err := unpack(reader)
	_ = reader.Close()
	if failed := <-packed; failed != nil && !errors.Is(failed, io.ErrClosedPipe) {
		return failed
	}
	return err
}

func packEntry(t *tar.Writer, file, name string, uid int, info fs.FileInfo) (err error) {
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(file); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	header.Name, header.Uid, header.Gid, header.Uname, header.Gname = name, uid, uid, "", ""
	header.Mode &= 0o777
	if err := t.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	copied, err := io.Copy(t, io.LimitReader(f, header.Size))
	if err == nil && copied < header.Size {
		err = fmt.Errorf("cannot copy %s: it became shorter meanwhile", file)
	}
	return err
}

// PackFile writes one file of so many bytes as an archive.
func PackFile(w io.Writer, name string, uid int, content io.Reader, size int64) error {
	t := tar.NewWriter(w)
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, Uid: uid, Gid: uid}); err != nil {
		return err
	}
	_, err := io.Copy(t, content)
	return errors.Join(err, t.Close())
}
