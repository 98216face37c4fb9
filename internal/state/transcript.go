package state

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// maxTranscripts is how many of a bottle's runs have theirs kept: the last ones.
const maxTranscripts = 5

// KeepTranscript keeps the transcript of the run of a bottle that began at a time: what copy
// writes, if it writes anything.
func (s Store) KeepTranscript(identity string, began time.Time, copy func(io.Writer) error) error {
	tmp, err := os.CreateTemp(s.Dir(identity), tmpPattern)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	err = copy(tmp)
	size, seekErr := tmp.Seek(0, io.SeekCurrent)
	if err := errors.Join(err, seekErr, tmp.Sync(), tmp.Close()); err != nil || size == 0 {
		return err
	}
	name := filepath.Join(s.Dir(identity), "transcript-"+began.UTC().Format("20060102T150405.000")+".cast")
	if err := rename(tmp.Name(), name); err != nil { // for good: what the engine has of it goes next
		return err
	}
	all, err := s.Transcripts(identity)
	for len(all) > maxTranscripts {
		err = errors.Join(err, os.Remove(all[0]))
		all = all[1:]
	}
	return err
}

// Transcripts are the files of the transcripts that are kept of a bottle, oldest first.
func (s Store) Transcripts(identity string) ([]string, error) {
	all, err := filepath.Glob(filepath.Join(s.Dir(identity), "transcript-*.cast"))
	slices.Sort(all)
	return all, err
}
