package state

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// maxTranscripts is how many of a bottle's runs have theirs kept: the last ones.
const maxTranscripts = 5

// BrokenOffError is the error of a copy whose beginning is worth keeping.
type BrokenOffError struct{ Err error }

func (e *BrokenOffError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *BrokenOffError) Unwrap() error { return e.Err }

// KeepTranscript keeps the transcript of the run that a bottle's record is of: what copy
// writes, if it writes anything. It may be called again for a run. What is whole takes the place of what
// there is of it; what broke off does only if it is more, and its error comes back.
func (s Store) KeepTranscript(m Metadata, copy func(io.Writer) error) error {
	tmp, err := os.CreateTemp(s.Dir(m.Identity), tmpPattern)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	name := filepath.Join(s.Dir(m.Identity), transcriptName(m))
	err = copy(tmp)
	size, seekErr := tmp.Seek(0, io.SeekCurrent)
	var lost error
	if brokenOff := (*BrokenOffError)(nil); errors.As(err, &brokenOff) && size > sizeOf(name) {
		lost, err = err, nil
	}
	if err := errors.Join(err, seekErr, tmp.Sync(), tmp.Close()); err != nil || size == 0 {
		return err
	}
	if err := rename(tmp.Name(), name); err != nil { // for good: what the engine has of it goes next
		return err
	}
	err = lost
	for all := s.Transcripts(m.Identity); len(all) > maxTranscripts; all = all[1:] {
		err = errors.Join(err, os.Remove(all[0]))
	}
	return err
}

// HasTranscript reports whether anything is kept of the transcript of the run that a bottle's record is of.
func (s Store) HasTranscript(m Metadata) bool {
	return sizeOf(filepath.Join(s.Dir(m.Identity), transcriptName(m))) > 0
}

// transcriptName is of a run's file. Names are in the order of the runs, whatever the clock did
// meanwhile; those that an earlier version gave by the time alone come before.
func transcriptName(m Metadata) string {
	return fmt.Sprintf("transcript-r%06d-%s.cast", m.Runs, m.StartedAt.UTC().Format("20060102T150405.000"))
}

// sizeOf is a file's size, 0 if it is not there.
func sizeOf(name string) int64 {
	info, err := os.Stat(name)
	if err != nil {
		return 0
	}
	return info.Size()
}

// Transcripts are the files of the transcripts that are kept of a bottle, oldest first.
func (s Store) Transcripts(identity string) []string {
	all := Glob(s.Dir(identity), "transcript-*.cast")
	slices.Sort(all)
	return all
}
