package filecopy

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// entry of an archive, for tests.
type entry struct {
	name, link, data string
	kind             byte // 0: a file
	mode             int64
}

func archive(t *testing.T, all ...entry) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range all {
		h := &tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: e.mode, Size: int64(len(e.data)), ModTime: time.Unix(1e9, 0)}
		if e.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// tree is all that is below a directory: mode, name, and where links lead.
func tree(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || file == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		line := info.Mode().String() + " " + strings.TrimPrefix(file, dir+"/")
		if to, err := os.Readlink(file); err == nil {
			line = "link " + strings.TrimPrefix(file, dir+"/") + " -> " + to
		}
		all = append(all, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// What goes in comes out as it was: files, directories, links, modes, times.
func TestATreeThereAndBack(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	if err := errors.Join(
		os.MkdirAll(filepath.Join(from, "src/a/b"), 0o755), os.Mkdir(filepath.Join(from, "src/empty"), 0o700),
		os.WriteFile(filepath.Join(from, "src/a/run.sh"), []byte("#!/bin/sh\n"), 0o755),
		os.WriteFile(filepath.Join(from, "src/a/b/öä \n x"), []byte(strings.Repeat("x", 70000)), 0o600),
		os.Symlink("../run.sh", filepath.Join(from, "src/a/b/up")), os.Symlink("a", filepath.Join(from, "src/dir")),
		os.Link(filepath.Join(from, "src/a/run.sh"), filepath.Join(from, "src/again.sh")),
	); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := Pack(&b, filepath.Join(from, "src"), "dst", 1000, nil); err != nil {
		t.Fatal(err)
	}
	sum, err := Unpack(&b, to, "other", Options{})
	if err != nil || sum.LeftOut != 0 || sum.Files != 9 {
		t.Errorf("got %+v, %v", sum, err)
	}
	want := []string{"drwxr-xr-x other", "drwxr-xr-x other/a", "drwxr-xr-x other/a/b", "link other/a/b/up -> ../run.sh", "-rw------- other/a/b/öä \n x", "-rwxr-xr-x other/a/run.sh", "-rwxr-xr-x other/again.sh", "link other/dir -> a", "drwx------ other/empty"}
	if got := tree(t, to); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// Attack E3: a bottle sends an archive that is to write outside of where it is unpacked, through
// names or through links of its own, now or when somebody works in it later, or that gives rights.
func TestAttackE3_ACopyOutOfABottle(t *testing.T) {
	const dir, link, hard = tar.TypeDir, tar.TypeSymlink, tar.TypeLink
	for name, c := range map[string]struct {
		all  []entry
		want []string
		left int64
		err  string
	}{
		"up":                      {[]entry{{name: "t", kind: dir}, {name: "t/../../evil", data: "x"}}, nil, 0, "not below"},
		"up and back":             {[]entry{{name: "t", kind: dir}, {name: "t/../t/evil", data: "x"}}, nil, 0, "not below"},
		"absolute":                {[]entry{{name: "t", kind: dir}, {name: "/etc/evil", data: "x"}}, nil, 0, "not below"},
		"beside":                  {[]entry{{name: "t", kind: dir}, {name: "tt", data: "x"}}, nil, 0, "not below"},
		"first is up":             {[]entry{{name: "..", kind: dir}}, nil, 0, "first"},
		"first is deep":           {[]entry{{name: "a/b", data: "x"}}, nil, 0, "first"},
		"link, then through it":   {[]entry{{name: "t", kind: dir}, {name: "t/l", link: "../../out", kind: link}, {name: "t/l/evil", data: "x"}}, []string{"drwxr-xr-x top"}, 2, ""},
		"inner link, through it":  {[]entry{{name: "t", kind: dir}, {name: "t/d", kind: dir}, {name: "t/l", link: "d", kind: link}, {name: "t/l/evil", data: "x"}}, []string{"drwxr-xr-x top", "drwxr-xr-x top/d", "link top/l -> d"}, 1, ""},
		"link to the root":        {[]entry{{name: "t", kind: dir}, {name: "t/l", link: "/etc/passwd", kind: link}}, []string{"drwxr-xr-x top"}, 1, ""},
		"link by a link":          {[]entry{{name: "t", kind: dir}, {name: "t/d", kind: dir}, {name: "t/d/e", kind: dir}, {name: "t/d/e/up", link: "../..", kind: link}, {name: "t/d/e/out", link: "up/..", kind: link}}, []string{"drwxr-xr-x top", "drwxr-xr-x top/d", "drwxr-xr-x top/d/e", "link top/d/e/up -> ../.."}, 1, ""},
		"top is a link":           {[]entry{{name: "t", link: "x", kind: link}}, nil, 1, ""},
		"file over a link":        {[]entry{{name: "t", kind: dir}, {name: "t/f", data: "x"}, {name: "t/l", link: "f", kind: link}, {name: "t/l", data: "new", mode: 0o644}}, []string{"drwxr-xr-x top", "-rwxr-xr-x top/f", "-rw-r--r-- top/l"}, 0, ""},
		"directory over a link":   {[]entry{{name: "t", kind: dir}, {name: "t/d", kind: dir}, {name: "t/l", link: "d", kind: link}, {name: "t/l", kind: dir}, {name: "t/l/x", data: "x"}}, []string{"drwxr-xr-x top", "drwxr-xr-x top/d", "link top/l -> d"}, 2, ""},
		"link over a directory":   {[]entry{{name: "t", kind: dir}, {name: "t/d", kind: dir}, {name: "t/e", kind: dir}, {name: "t/d", link: "e", kind: link}, {name: "t/d/x", data: "x"}}, []string{"drwxr-xr-x top", "drwxr-xr-x top/d", "-rwxr-xr-x top/d/x", "drwxr-xr-x top/e"}, 1, ""},
		"hard link out":           {[]entry{{name: "t", kind: dir}, {name: "t/h", link: "../secret", kind: hard}, {name: "t/i", link: "/etc/passwd", kind: hard}}, []string{"drwxr-xr-x top"}, 2, ""},
		"hard link to a link":     {[]entry{{name: "t", kind: dir}, {name: "t/f", data: "x"}, {name: "t/l", link: "f", kind: link}, {name: "t/h", link: "t/l", kind: hard}}, []string{"drwxr-xr-x top", "-rwxr-xr-x top/f", "link top/l -> f"}, 1, ""},
		"hard link twice":         {[]entry{{name: "t", kind: dir}, {name: "t/f", data: "x"}, {name: "t/h", link: "t/f", kind: hard}, {name: "t/h", link: "t/f", kind: hard}}, []string{"drwxr-xr-x top", "-rwxr-xr-x top/f", "-rwxr-xr-x top/h"}, 0, ""},
		"rights":                  {[]entry{{name: "t", kind: dir, mode: 0o7777}, {name: "t/su", data: "x", mode: 0o6777}}, []string{"drwxr-xr-x top", "-rwxr-xr-x top/su"}, 0, ""},
		"no rights for its owner": {[]entry{{name: "t", kind: dir, mode: 0o1}, {name: "t/x", data: "x"}}, []string{"drwx-----x top", "-rwxr-xr-x top/x"}, 0, ""},
		"devices":                 {[]entry{{name: "t", kind: dir}, {name: "t/null", kind: tar.TypeChar}, {name: "t/sda", kind: tar.TypeBlock}, {name: "t/pipe", kind: tar.TypeFifo}}, []string{"drwxr-xr-x top"}, 3, ""},
		"no archive":              {nil, nil, 0, "cannot read"},
	} {
		t.Run(name, func(t *testing.T) {
			outer := t.TempDir()
			into := filepath.Join(outer, "into")
			if err := errors.Join(os.Mkdir(into, 0o755), os.WriteFile(filepath.Join(outer, "secret"), []byte("s"), 0o600)); err != nil {
				t.Fatal(err)
			}
			sum, err := Unpack(archive(t, c.all...), into, "top", Options{})
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %v, want %q", err, c.err)
			}
			if got := tree(t, into); c.err == "" && !slices.Equal(got, c.want) || sum.LeftOut != c.left || len(sum.Left) != int(c.left) {
				t.Errorf("got  %q, left %+v\nwant %q", got, sum.Left, c.want)
			}
			if got := tree(t, outer); !slices.Equal(slices.DeleteFunc(got, func(s string) bool { return strings.Contains(s, " into") }), []string{"-rw------- secret"}) {
				t.Errorf("outside of it: %q", got)
			}
			for _, line := range tree(t, into) {
				if strings.Contains(line, ".bot-bottle-") {
					t.Errorf("left behind: %s", line)
				}
			}
		})
	}
}

// Attack E4: the tree that a bottle sends is a repository, or has one in it, as git on some file
// system sees it. Its configuration would run programs as soon as a prompt looks at it.
func TestAttackE4_ACopiedRepositoryIsNone(t *testing.T) {
	const dir = tar.TypeDir
	all := []entry{
		{name: "t", kind: dir}, {name: "t/.git", kind: dir}, {name: "t/.git/config", data: "[core] fsmonitor = evil"}, {name: "t/.GIT", kind: dir}, {name: "t/GIT~1", kind: dir}, {name: "t/.g\u200cit", kind: dir}, {name: "t/.git.", kind: dir},
		{name: "t/sub", kind: dir}, {name: "t/sub/.git", data: "gitdir: ../bare"}, {name: "t/bare", kind: dir}, {name: "t/bare/HEAD", data: "ref: refs/heads/x"}, {name: "t/bare/config", data: "evil"}, {name: "t/.gitignore", data: "x"}, {name: "t/HEADER", data: "x"},
	}
	into := t.TempDir()
	sum, err := Unpack(archive(t, all...), into, "top", Options{})
	want := []string{"drwxr-xr-x top", "-rwxr-xr-x top/.gitignore", "-rwxr-xr-x top/HEADER", "drwxr-xr-x top/bare", "-rwxr-xr-x top/bare/config", "drwxr-xr-x top/sub"}
	if got := tree(t, into); err != nil || sum.LeftOut != 7 || // t/.git/config goes with t/.git
		slices.ContainsFunc(sum.Left, func(l Left) bool { return strings.HasPrefix(l.Name, "top/.git/") }) || !slices.Equal(got, want) {
		t.Errorf("got %q, %+v, %v", got, sum, err)
	}
	if sum, err := Unpack(archive(t, all...), t.TempDir(), "top", Options{Repositories: true}); err != nil || sum.LeftOut != 0 {
		t.Errorf("asked for, got %+v, %v", sum, err)
	}
	into = t.TempDir()
	if sum, err := Unpack(archive(t, entry{name: "HEAD", data: "x"}), into, "HEAD", Options{}); err != nil || sum.Files != 1 { // the one file that was asked for
		t.Errorf("got %+v, %v", sum, err)
	}
}

// Attack E3: links are there already, which an earlier copy or the operator made. What comes is
// not written through them.
func TestAttackE3_ACopyThroughLinksThatAreThere(t *testing.T) {
	outer := t.TempDir()
	into := filepath.Join(outer, "into")
	if err := errors.Join(
		os.MkdirAll(filepath.Join(into, "top"), 0o755), os.Mkdir(filepath.Join(outer, "home"), 0o755),
		os.WriteFile(filepath.Join(outer, "home/rc"), []byte("mine"), 0o644),
		os.Symlink("../../home", filepath.Join(into, "top/d")), os.Symlink("../../home/rc", filepath.Join(into, "top/f")), os.Symlink("../home/rc", filepath.Join(into, "file")),
	); err != nil {
		t.Fatal(err)
	}
	sum, err := Unpack(archive(t, entry{name: "t", kind: tar.TypeDir}, entry{name: "t/d/rc", data: "evil"}, entry{name: "t/f", data: "evil"}), into, "top", Options{})
	if err != nil || sum.LeftOut != 1 {
		t.Errorf("got %+v, %v", sum, err)
	}
	if _, err := Unpack(archive(t, entry{name: "x", data: "evil"}), into, "file", Options{}); err != nil {
		t.Error(err)
	}
	if data, err := os.ReadFile(filepath.Join(outer, "home/rc")); err != nil || string(data) != "mine" {
		t.Errorf("it was written through a link: %q, %v", data, err)
	}
	for _, name := range []string{"top/f", "file"} {
		if info, err := os.Lstat(filepath.Join(into, name)); err != nil || !info.Mode().IsRegular() {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

// Attack I: a bottle sends without end, or more files than a disk has room for.
func TestABottleSendsTooMuch(t *testing.T) {
	for name, c := range map[string]struct {
		all []entry
		o   Options
	}{
		"bytes": {[]entry{{name: "t", kind: tar.TypeDir}, {name: "t/a", data: "12345"}, {name: "t/b", data: "12345"}}, Options{MaxBytes: 9}},
		"files": {[]entry{{name: "t", kind: tar.TypeDir}, {name: "t/a"}, {name: "t/b"}}, Options{MaxFiles: 2}},
	} {
		if sum, err := Unpack(archive(t, c.all...), t.TempDir(), "top", c.o); !errors.Is(err, ErrTooMuch) {
			t.Errorf("%s: got %+v, %v", name, sum, err)
		}
	}
	if _, err := Unpack(archive(t, entry{name: "t", data: "123456789"}), t.TempDir(), "top", Options{MaxBytes: 9, MaxFiles: 1}); err != nil {
		t.Error(err)
	}
}

// A connection that breaks leaves no half of a file.
func TestACopyThatBreaksOff(t *testing.T) {
	into := t.TempDir()
	whole := archive(t, entry{name: "t", kind: tar.TypeDir}, entry{name: "t/f", data: strings.Repeat("x", 5000)}).Bytes()
	if _, err := Unpack(bytes.NewReader(whole[:3000]), into, "top", Options{}); err == nil {
		t.Error("half an archive is one")
	}
	if got := tree(t, into); !slices.Equal(got, []string{"drwxr-xr-x top"}) {
		t.Errorf("left %q", got)
	}
}

// A file of an archive goes to a writer, and nothing else does.
func TestOneFile(t *testing.T) {
	var b bytes.Buffer
	if err := PackFile(&b, "x", 1000, strings.NewReader("abc"), 3); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if n, err := UnpackFile(&b, &out); err != nil || n != 3 || out.String() != "abc" {
		t.Errorf("got %d %q, %v", n, out.String(), err)
	}
	if _, err := UnpackFile(archive(t, entry{name: "d", kind: tar.TypeDir}), &out); err == nil {
		t.Error("a directory is a file")
	}
}

// Whatever the bottle sends: no panic, and nothing outside.
func FuzzUnpack(f *testing.F) {
	f.Add(archiveOf(entry{name: "t", kind: tar.TypeDir}, entry{name: "t/l", link: "..", kind: tar.TypeSymlink}, entry{name: "t/l/x", data: "x"}))
	f.Add(archiveOf(entry{name: "t", kind: tar.TypeDir}, entry{name: "t/a", data: "x"}, entry{name: "t/h", link: "t/a", kind: tar.TypeLink}))
	f.Fuzz(func(t *testing.T, data []byte) {
		outer := t.TempDir()
		into := filepath.Join(outer, "into")
		if err := os.Mkdir(into, 0o755); err != nil {
			t.Fatal(err)
		}
		_, _ = Unpack(bytes.NewReader(data), into, "top", Options{MaxBytes: 1 << 20, MaxFiles: 100})
		for dir, want := range map[string]string{outer: "into", into: "top"} {
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) > 1 || len(entries) == 1 && entries[0].Name() != want {
				t.Fatalf("%s has %v, %v", dir, entries, err)
			}
		}
	})
}

func archiveOf(all ...entry) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range all {
		kind := e.kind
		if kind == 0 {
			kind = tar.TypeReg
		}
		_ = w.WriteHeader(&tar.Header{Name: e.name, Linkname: e.link, Typeflag: kind, Mode: 0o755, Size: int64(len(e.data))})
		_, _ = w.Write([]byte(e.data))
	}
	_ = w.Close()
	return b.Bytes()
}
