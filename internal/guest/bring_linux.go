package guest

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/provider"
)

// Bring is the guest's side of a Stream: a process beside the guest, run by the host.
func Bring(ctx context.Context, address, sockets string, stdin io.Reader, stdout io.Writer) error {
	in := bufio.NewReaderSize(stdin, 64<<10)
	var b control.Bringing
	if err := control.HearLine(in, &b); err != nil {
		return err
	}
	if err := control.SayLine(stdout, inspect(ctx, sockets, b.Services)); err != nil {
		return err
	}
	err := unpack(&control.PiecesReader{R: in})
	var o control.Order
	if err == nil {
		err = control.HearLine(in, &o)
	}
	if err == nil {
		err = keepEnvironment(o)
	}
	if err == nil {
		err = Give(ctx, address, o)
	}
	var said control.Begun
	if err != nil {
		said.Error = err.Error()
	}
	if err := errors.Join(err, control.SayLine(stdout, said)); err != nil || b.Attach == "" {
		return err
	}
	return Talk(ctx, address, b.Attach, in, stdout)
}

// inspect is the self-check: what this machine is, seen from inside.
func inspect(ctx context.Context, sockets string, services []control.Service) (f control.Found) {
	list, err := net.Interfaces()
	if err != nil {
		f.Interfaces = []string{err.Error()}
	}
	for _, i := range list {
		f.Interfaces = append(f.Interfaces, i.Name)
	}
	routes, err := os.ReadFile("/proc/net/route")
	f.Routes = strings.Count(string(routes), "\n") - 1
	if err != nil {
		f.Routes = -1
	}
	first, err := os.Readlink("/proc/1/exe")
	f.PID1 = err == nil && first == control.Binary
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, address := range []string{"1.1.1.1:53", "100.96.0.1:1", "169.254.169.254:80", "[2001:db8::1]:443"} {
		all.Go(func() {
			if why := reaches(ctx, address); why != "" {
				mu.Lock()
				defer mu.Unlock()
				f.Reached = append(f.Reached, why)
			}
		})
	}
	for _, s := range services {
		all.Go(func() {
			if !answers(ctx, sockets, s) {
				mu.Lock()
				defer mu.Unlock()
				f.Silent = append(f.Silent, s)
			}
		})
	}
	all.Wait()
	return f
}

// checkLimit bounds each question of the self-check.
const checkLimit = 5 * time.Second

// reaches says how an address answers that nothing may lead to; "" is how it must.
func reaches(ctx context.Context, address string) string {
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err == nil {
		_ = conn.Close()
		return address
	}
	if errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
		return ""
	}
	return address + " (" + err.Error() + ")"
}

// answers reports whether a service is behind its socket: each speaks HTTP.
func answers(ctx context.Context, sockets string, s control.Service) bool {
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	conn, err := (socket{dir: sockets, name: s, grace: startGrace}).dial(ctx)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if _, err := io.WriteString(conn, "GET "+control.AlivePath+" HTTP/1.1\r\nHost: "+egressHost+"\r\nConnection: close\r\n\r\n"); err != nil {
		return false
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return false
	}
	return response.Body.Close() == nil
}

// keepEnvironment has every later process see what the agent does.
func keepEnvironment(o control.Order) error {
	data, err := json.Marshal(environment{Env: o.Env, NProc: o.NProc})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(path.Dir(environmentFile), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(environmentFile+".new", data, 0o644); err != nil {
		return err
	}
	return os.Rename(environmentFile+".new", environmentFile)
}

// unpack writes what is brought in. The workspace is the agent's own, whoever made it. No link
// that an agent of an earlier run has left leads anywhere else: each directory on the way is one.
// There may be several archives, one after the other.
func unpack(archives *control.PiecesReader) error {
	if err := os.Chown(provider.Workspace, provider.UID, provider.UID); err != nil {
		return err
	}
	for {
		before := archives.Taken
		if err := unpackOne(archives); err != nil {
			return err
		}
		if archives.Taken == before {
			return nil
		}
	}
}

func unpackOne(archive io.Reader) error {
	for t := tar.NewReader(archive); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := place(h, t); err != nil {
			return fmt.Errorf("cannot bring in %s: %w", h.Name, err)
		}
	}
}

// place writes one entry.
func place(h *tar.Header, content io.Reader) error {
	name := path.Clean("/" + h.Name)
	dir, err := openDir(path.Dir(name))
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	base := path.Base(name)
	if h.Typeflag == tar.TypeDir {
		if err := dir.Mkdir(base, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		if info, err := dir.Lstat(base); err != nil || !info.IsDir() {
			return fmt.Errorf("it is no directory (%v)", err)
		}
		return errors.Join(dir.Lchown(base, h.Uid, h.Gid), dir.Chmod(base, h.FileInfo().Mode().Perm()))
	}
	how := os.O_CREATE | os.O_EXCL | os.O_WRONLY
	if err := dir.RemoveAll(base); errors.Is(err, syscall.EBUSY) {
		how = os.O_TRUNC | os.O_WRONLY // something is mounted there
	} else if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeSymlink:
		return errors.Join(dir.Symlink(h.Linkname, base), dir.Lchown(base, h.Uid, h.Gid))
	case tar.TypeReg:
		f, err := dir.OpenFile(base, how, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, content)
		return errors.Join(err, f.Chown(h.Uid, h.Gid), f.Chmod(h.FileInfo().Mode().Perm()), f.Close())
	}
	return errors.New("it is neither a file nor a directory")
}

// openDir opens a directory, and makes those on the way that are missing. A link on the way is
// followed where root made it: the image's own; one of the agent's is not.
func openDir(name string) (*os.Root, error) {
	dir, err := os.OpenRoot("/")
	if err != nil {
		return nil, err
	}
	for part := range strings.SplitSeq(strings.Trim(name, "/"), "/") {
		if part == "" {
			continue
		}
		next, err := step(dir, part)
		_ = dir.Close()
		if err != nil {
			return nil, err
		}
		dir = next
	}
	return dir, nil
}

func step(dir *os.Root, part string) (*os.Root, error) {
	if err := dir.Mkdir(part, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	info, err := dir.Lstat(part)
	if err != nil {
		return nil, err
	}
	if info.Mode()&os.ModeSymlink != 0 {
		if info.Sys().(*syscall.Stat_t).Uid != 0 {
			return nil, fmt.Errorf("%s is a link that the agent has made", part)
		}
		target, err := dir.Readlink(part)
		if err != nil {
			return nil, err
		}
		if !path.IsAbs(target) {
			return dir.OpenRoot(target)
		}
		return os.OpenRoot(target)
	}
	return dir.OpenRoot(part)
}
