package guest

import (
	"errors"
	"io"
	"os"
)

// maxRecord bounds each of the two files of a transcript.
const maxRecord = 16 << 20

// rotating writes a file, and begins it anew when it is full; the one before is kept.
type rotating struct {
	path    string
	f       *os.File
	written int
}

func newRotating(path string) (*rotating, error) {
	if err := os.Remove(path + ".1"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	return &rotating{path: path, f: f}, err
}

// Write implements io.Writer. What cannot be written is not, without an error: an agent goes on
// when the disk that it filled is full.
func (r *rotating) Write(p []byte) (int, error) {
	if r.written+len(p) > maxRecord {
		if os.Rename(r.path, r.path+".1") == nil {
			if f, err := os.OpenFile(r.path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600); err == nil {
				_ = r.f.Close()
				r.f, r.written = f, 0
			}
		}
	}
	n, _ := r.f.Write(p)
	r.written += n
	return len(p), nil
}

// Transcript copies what there is of the last run's transcript.
func Transcript(w io.Writer) error {
	for _, path := range []string{transcriptFile + ".1", transcriptFile} {
		f, err := os.Open(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		_, err = io.Copy(w, io.LimitReader(f, maxRecord))
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}
