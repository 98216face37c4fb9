package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/bot-bottle/bot-bottle/internal/audit"
)

// AuditLog opens what is kept of a bottle's audit log. A log that has no file is empty.
func (s Store) AuditLog(identity string) (io.ReadCloser, error) {
	f, err := os.Open(s.AuditFile(identity))
	if errors.Is(err, fs.ErrNotExist) {
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	return f, err
}

// ContinueAudit readies a bottle's audit log for one more run, under the bottle's lock,
// and returns where it ends. When the last run's end was recorded, that is what was
// recorded: a log that has lost lines since does not verify once it goes on. A line without
// an end, which a crash had cut short, is taken off; cut is its length.
func (s Store) ContinueAudit(identity string) (head audit.Head, cut int64, err error) {
	f, err := os.OpenFile(s.AuditFile(identity), os.O_RDWR, 0)
	if err == nil {
		defer func() { err = errors.Join(err, f.Close()) }()
		if head, cut, err = audit.ReadHead(f); err == nil && cut > 0 {
			err = takeOff(f, cut)
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return head, cut, fmt.Errorf("cannot continue the audit log of %s: %w", identity, err)
	}
	if m, err := s.Read(identity); err == nil && m.EndedAt != nil && m.Audit != nil {
		head = *m.Audit
	}
	return head, cut, nil
}

func takeOff(f *os.File, n int64) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(info.Size()-n), f.Sync())
}

// KeepAudit puts all that the last run of a bottle wrote into its audit log, in place of
// what was read of it before. It never makes the log shorter by what only the log has.
func (s Store) KeepAudit(identity string, run io.Reader) (err error) {
	if err := makeDir(s.Dir(identity)); err != nil {
		return err
	}
	old, err := s.AuditLog(identity)
	if err != nil {
		return err
	}
	defer func() { _ = old.Close() }()
	tmp, err := os.CreateTemp(s.Dir(identity), tmpPattern)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	log, err := audit.Splice(old, run)
	if err == nil {
		_, err = io.Copy(tmp, log)
	}
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if has, err := s.hasMore(identity, tmp.Name()); has || err != nil {
		return err
	}
	return rename(tmp.Name(), s.AuditFile(identity))
}

// CloseAudit appends how the agent ended to a bottle's audit log, once for each run, and
// returns where the log ends then; nil if there is none. A line that a crash had cut short is
// taken off before, which the new one says.
func (s Store) CloseAudit(identity string, e Ending) (*audit.Head, error) {
	f, err := os.OpenFile(s.AuditFile(identity), os.O_RDWR|os.O_APPEND, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot close the audit log of %s: %w", identity, err)
	}
	line, head, cut, err := audit.Ending(f, audit.Event{Time: e.At.UTC(), Bottle: identity, Exit: e.Code, Reason: e.How})
	if err == nil && cut > 0 {
		err = takeOff(f, cut)
	}
	if err == nil && len(line) > 0 {
		err = appendWhole(f, line)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("cannot close the audit log of %s: %w", identity, err)
	}
	return &head, nil
}

// appendWhole appends all of a line for good, or nothing of it.
func appendWhole(f *os.File, line []byte) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if _, err = f.Write(line); err == nil {
		err = f.Sync()
	}
	if err != nil {
		return errors.Join(err, f.Truncate(info.Size()))
	}
	return nil
}

// hasMore reports whether the log is what is in path, or that and more.
func (s Store) hasMore(identity, path string) (bool, error) {
	fresh, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer func() { _ = fresh.Close() }()
	old, err := os.Open(s.AuditFile(identity))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = old.Close() }()
	return audit.Extends(old, fresh)
}

// Acted reports whether a bottle's log tells of anything that its agent did.
func (s Store) Acted(identity string) bool {
	log, err := s.AuditLog(identity)
	if err != nil {
		return false
	}
	defer func() { _ = log.Close() }()
	for reader := audit.NewReader(log, identity); ; {
		e, line, _ := reader.Next()
		if line == nil {
			return false
		}
		if e.Kind != audit.Begin && e.Kind != audit.End && e.Kind != audit.Lifecycle {
			return true
		}
	}
}

// AuditHead is where a bottle's log ends, nil if that cannot be told.
func (s Store) AuditHead(identity string) *audit.Head {
	f, err := os.Open(s.AuditFile(identity))
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	head, _, err := audit.ReadHead(f)
	if err != nil {
		return nil
	}
	return &head
}
