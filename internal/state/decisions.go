package state

import (
	"bufio"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// KeepDecision writes down that something is over which the operator has rejected or taken back, so
// that it stays over also where a loss of power takes the end of the audit log
// (docs/decisions/0011-requests-live-in-the-parent.md). It is on the disk when it returns. Several
// processes may do so at once.
func (s Store) KeepDecision(identity string, r requests.Request) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	path := s.decisionsFile(identity)
	_, missing := os.Stat(path)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append([]byte{'\n'}, append(line, '\n')...)) // what a crash has cut short before it is a line of its own
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil || missing == nil {
		return err
	}
	return syncDir(s.Dir(identity))
}

func (s Store) decisionsFile(identity string) string {
	return filepath.Join(s.Dir(identity), "requests.jsonl")
}

// overrule puts what is over in the place of what the log still has as pending or granted.
func (s Store) overrule(identity string, last map[string]requests.Request) error {
	f, err := os.Open(s.decisionsFile(identity))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var r requests.Request
		if json.Unmarshal(lines.Bytes(), &r) != nil {
			continue // cut short by a crash
		}
		if known, ok := last[r.ID]; ok && known.Open() && !r.Open() && known.Asked.Equal(r.Asked) { // an id whose ask was lost is given again
			last[r.ID] = r
		}
	}
	return lines.Err()
}
