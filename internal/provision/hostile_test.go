package provision

import (
	"archive/tar"
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/pki"
	"github.com/bot-bottle/bot-bottle/internal/provider"
	"github.com/bot-bottle/bot-bottle/test/need"
)

// order returns the names in the archive as they come.
func order(t *testing.T, a *Archive) []string {
	t.Helper()
	var data bytes.Buffer
	if err := a.Tar(&data); err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(&data); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
}

// A directory comes before what is in it, each once; those of the image are not touched.
func TestArchiveOrder(t *testing.T) {
	a := &Archive{}
	for _, p := range []string{"/home/node/.a/b/c/d", "/home/node/.a/z", "/home/node/top", "/etc/bot-bottle/x/y", "/etc/ssl/certs/z", "/usr/local/share/q", "/workspace/w"} {
		a.Add(provider.File{Path: p, Mode: 0o644})
	}
	want := []string{
		"etc/bot-bottle/", "etc/bot-bottle/x/", "home/node/.a/", "home/node/.a/b/", "home/node/.a/b/c/",
		"etc/bot-bottle/x/y", "etc/ssl/certs/z", "home/node/.a/b/c/d", "home/node/.a/z", "home/node/top", "usr/local/share/q", "workspace/w",
	}
	got := order(t, a)
	slices.Sort(want[:5])
	dirs := slices.Sorted(slices.Values(got[:5]))
	if !slices.Equal(append(dirs, got[5:]...), want) {
		t.Errorf("got %v", got)
	}
	for i, name := range got {
		if parent := filepath.Dir(strings.TrimSuffix(name, "/")) + "/"; slices.Contains(got[i:], parent) {
			t.Errorf("%s comes before %s", name, parent)
		}
	}
	if again := order(t, a); !slices.Equal(got, again) {
		t.Errorf("got %v, then %v", got, again)
	}
}

// Attack D4: a file's path climbs out of where it belongs, or is not absolute.
func TestAttackD4_ArchivePathsStayInside(t *testing.T) {
	a := &Archive{}
	for _, p := range []string{"/../../x", "/home/node/../../y", "//z", "/home/node/./v//w", "relative/name", "../up"} {
		a.Add(provider.File{Path: p, Mode: 0o644})
	}
	want := []string{"home/node/v/", "home/node/v/w", "relative/name", "up", "x", "y", "z"}
	if got := order(t, a); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestEmptyArchive(t *testing.T) {
	a := &Archive{}
	if names := order(t, a); len(names) != 0 || len(a.Env()) != 0 {
		t.Errorf("got %v, %v", names, a.Env())
	}
	a.Setenv("A", "1")
	a.Setenv("A", "2=3")
	if env := a.Env(); !slices.Equal(env, []string{"A=2=3"}) {
		t.Errorf("got %v", env)
	}
}

type full struct{ left int }

func (f *full) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errors.New("no space")
	}
	return len(p), nil
}

// The engine hangs up at any moment: that is an error, not half an archive.
func TestTarReportsEveryFailure(t *testing.T) {
	a := &Archive{}
	a.Add(provider.File{Path: "/home/node/d/f", Mode: 0o644, Data: bytes.Repeat([]byte("x"), 1000)})
	var all bytes.Buffer
	if err := a.Tar(&all); err != nil {
		t.Fatal(err)
	}
	for room := 0; room < all.Len(); room += 256 {
		if err := a.Tar(&full{room}); err == nil {
			t.Errorf("with room for %d bytes: no error", room)
		}
	}
}

func skill(t *testing.T) (string, []bottle.Skill) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "s")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(filepath.Join(dir, "SKILL.md"), []byte("skill"), 0o640)); err != nil {
		t.Fatal(err)
	}
	return dir, []bottle.Skill{{Name: "s", Dir: dir, Target: "/home/node/.claude/skills/s"}}
}

// Attack D4: a skill from elsewhere holds a pipe that never ends, a socket, a link to a
// device, a link to nothing, or more than memory holds (in a file with a hole).
func TestAttackD4_ASkillThatCannotBeCopied(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"pipe": func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "x"), 0o644) },
		"link to a pipe": func(dir string) error {
			return errors.Join(syscall.Mkfifo(dir+".pipe", 0o644), os.Symlink(dir+".pipe", filepath.Join(dir, "x")))
		},
		"device":    func(dir string) error { return os.Symlink("/dev/zero", filepath.Join(dir, "x")) },
		"dangling":  func(dir string) error { return os.Symlink("nowhere", filepath.Join(dir, "x")) },
		"itself":    func(dir string) error { return os.Symlink("x", filepath.Join(dir, "x")) },
		"directory": func(dir string) error { return os.Symlink(".", filepath.Join(dir, "x")) },
		"huge": func(dir string) error {
			return errors.Join(os.WriteFile(filepath.Join(dir, "x"), nil, 0o644), os.Truncate(filepath.Join(dir, "x"), maxSkill+1))
		},
		"huge in all": func(dir string) error {
			var err error
			for _, name := range []string{"w", "x", "y"} {
				err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), nil, 0o644), os.Truncate(filepath.Join(dir, name), maxSkill/2))
			}
			return err
		},
	} {
		dir, skills := skill(t)
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		if err := Skills(&Archive{}, skills); err == nil || !strings.Contains(err.Error(), "cannot copy skill s: ") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Attack D3: a skill from elsewhere links to bot-bottle's own environment, which holds the keys.
func TestAttackD3_ASkillLinksToTheOperatorsEnvironment(t *testing.T) {
	if runtime.GOOS != "linux" {
		need.Elsewhere(t, "this system has no /proc")
	}
	dir, skills := skill(t)
	if err := os.Symlink("/proc/self/environ", filepath.Join(dir, "x")); err != nil {
		t.Fatal(err)
	}
	a := &Archive{}
	if err := Skills(a, skills); err == nil {
		_, contents := unpack(t, a)
		t.Errorf("copied %d bytes of it", len(contents["home/node/.claude/skills/s/x"]))
	}
}

// Attack D3: a skill from elsewhere links to the operator's files, which the agent would then
// read: a key by its absolute path, by a path that climbs, or through a directory.
func TestAttackD3_ASkillLinksOutOfItself(t *testing.T) {
	for name, target := range map[string]string{"absolute": "KEY", "climbing": "../id_ed25519", "through itself": "../s/../id_ed25519", "directory": ".."} {
		dir, skills := skill(t)
		key := filepath.Join(filepath.Dir(dir), "id_ed25519")
		if target == "KEY" {
			target = key
		}
		if err := errors.Join(os.WriteFile(key, []byte("the key"), 0o600), os.Symlink(target, filepath.Join(dir, "x"))); err != nil {
			t.Fatal(err)
		}
		a := &Archive{}
		if err := Skills(a, skills); err == nil {
			_, contents := unpack(t, a)
			t.Errorf("%s: copied %q", name, contents["home/node/.claude/skills/s/x"])
		}
	}
}

// A skill's directory may itself be a link: dotfiles are often kept so. Its files are the
// agent's, which can read all and write all, and nothing of setuid is left.
func TestSkillsAreTheAgents(t *testing.T) {
	dir, _ := skill(t)
	link := filepath.Join(t.TempDir(), "linked")
	if err := errors.Join(
		os.Symlink(dir, link), os.WriteFile(filepath.Join(dir, "locked"), nil, 0o400), os.WriteFile(filepath.Join(dir, "run"), nil, 0o755), os.Chmod(filepath.Join(dir, "run"), 0o755|os.ModeSetuid|os.ModeSetgid),
	); err != nil {
		t.Fatal(err)
	}
	a := &Archive{}
	if err := Skills(a, []bottle.Skill{{Name: "named", Dir: link, Target: "/home/node/.claude/skills/named"}}); err != nil {
		t.Fatal(err)
	}
	headers, _ := unpack(t, a)
	for name, mode := range map[string]int64{"SKILL.md": 0o640, "locked": 0o600, "run": 0o755} {
		h, ok := headers["home/node/.claude/skills/named/"+name]
		if !ok || h.Mode != mode || h.Uid != provider.UID || h.Gid != provider.UID || h.Typeflag != tar.TypeReg {
			t.Errorf("%s: got %+v", name, h)
		}
	}
	if h := headers["home/node/.claude/skills/"]; h.Uid != provider.UID || h.Mode != 0o755 {
		t.Errorf("the directory: got %+v", h)
	}
	if err := Skills(&Archive{}, []bottle.Skill{{Name: "gone", Dir: filepath.Join(dir, "gone")}}); err == nil || !strings.Contains(err.Error(), "cannot copy skill gone") {
		t.Errorf("got %v", err)
	}
}

// Every certificate of the system bundle can be read by who reads PEM strictly, with the
// bottle's own last, whatever the image's bundle ends in.
func TestTheBundleIsPEM(t *testing.T) {
	ca, err := pki.NewCA("dev-aaaaaa", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	other, err := pki.NewCA("dev-bbbbbb", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		bundle string
		want   int
	}{
		"none": {"", 1}, "newline at the end": {other.CertPEM, 2}, "none at the end": {strings.TrimSpace(other.CertPEM), 2}, "several": {other.CertPEM + "\n\n# one more\n" + other.CertPEM + "\r\n\n", 3},
	} {
		a := &Archive{}
		if err := CA(a, ca.CertPEM, []byte(c.bundle)); err != nil {
			t.Fatal(err)
		}
		headers, contents := unpack(t, a)
		system := contents[strings.TrimPrefix(SystemBundle, "/")]
		var last *x509.Certificate
		found := 0
		for rest := []byte(system); ; found++ {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			if last, err = x509.ParseCertificate(block.Bytes); err != nil {
				t.Fatal(err)
			}
		}
		if found != c.want || last.Subject.CommonName != "bot-bottle dev-aaaaaa" || strings.Count(system, "BEGIN CERTIFICATE") != c.want {
			t.Errorf("%s: %d certificates, the last %v", name, found, last.Subject)
		}
		for name, h := range headers {
			if h.Typeflag == tar.TypeReg && (h.Mode != 0o644 || h.Uid != 0) {
				t.Errorf("%s: got %+v", name, h)
			}
		}
	}
}

// Each variable names a file that is in the archive, and Java's store opens with the
// password in its options.
func TestTrustVariablesNameWhatIsThere(t *testing.T) {
	ca, err := pki.NewCA("dev-aaaaaa", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	a := &Archive{}
	if err := CA(a, ca.CertPEM, nil); err != nil {
		t.Fatal(err)
	}
	_, contents := unpack(t, a)
	options := map[string]string{}
	for _, variable := range a.Env() {
		name, value, _ := strings.Cut(variable, "=")
		if name == "JAVA_TOOL_OPTIONS" {
			for option := range strings.FieldsSeq(value) {
				key, value, _ := strings.Cut(strings.TrimPrefix(option, "-Djavax.net.ssl."), "=")
				options[key] = value
			}
		} else if contents[strings.TrimPrefix(value, "/")] == "" {
			t.Errorf("%s is not in the archive", variable)
		}
	}
	trusted, err := pkcs12.DecodeTrustStore([]byte(contents[strings.TrimPrefix(options["trustStore"], "/")]), options["trustStorePassword"])
	if err != nil || len(trusted) != 1 || options["trustStoreType"] != "PKCS12" {
		t.Errorf("got %v, %v, %v", options, trusted, err)
	}
	for _, bad := range []string{"", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if err := CA(&Archive{}, bad, nil); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
