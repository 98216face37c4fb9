package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
)

// Version of the metadata format. 1 had no place, image_id, versions, manifest and runs.
const Version = 2

// Metadata describes one bottle.
type Metadata struct {
	Version   int               `json:"version"`
	Identity  string            `json:"identity"`
	Agent     string            `json:"agent"`
	Provider  string            `json:"provider,omitempty"` // template of the agent's provider; "" is claude
	Bottle    string            `json:"bottle"`
	Backend   string            `json:"backend"`
	Place     string            `json:"place,omitempty"` // where the backend has it: an engine's id; "" is unknown
	Image     string            `json:"image"`
	ImageID   string            `json:"image_id,omitempty"` // what ran under that name; "" until it is known
	Runtime   string            `json:"runtime"`
	Versions  map[string]string `json:"versions,omitempty"` // of bot-bottle, of the engine
	Manifest  string            `json:"manifest,omitempty"` // SHA-256 of the agent and the bottle as they were resolved, in hex
	Remove    bool              `json:"remove"`             // home and workspace go with the agent
	Runs      int               `json:"runs,omitempty"`     // how often it was started; 0: unknown
	StartedAt time.Time         `json:"started_at"`         // its last run
	EndedAt   *time.Time        `json:"ended_at,omitempty"`
	ExitCode  *int              `json:"exit_code,omitempty"`

	// TranscriptLeft is whether the transcript of this run is on its machine's disk, and not kept whole yet.
	TranscriptLeft bool `json:"transcript_left,omitempty"`

	// What a resumed bottle finds as it left it: what stands for its secrets (worthless
	// outside of it), and what the operator was shown, to be compared with.
	Placeholders map[string]string `json:"placeholders,omitempty"`
	Preflight    string            `json:"preflight,omitempty"`

	// Audit is where the audit log ended: at EndedAt, or, while the bottle runs, before
	// this run. It tells of a log that lost its end since, or was written anew.
	Audit *audit.Head `json:"audit,omitempty"`
}

// DamagedError is a record that cannot be read. The rest of the bottle is as it was.
type DamagedError struct {
	Identity, Path string
	Err            error
}

func (e *DamagedError) Error() string { return fmt.Sprintf("%s is damaged: %v", e.Path, e.Err) }
func (e *DamagedError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *DamagedError) Hint() string {
	return "repair it, or remove the bottle with its home and workspace: bot-bottle rm --force " + e.Identity
}

// NewerError is a record in a format that came after this program.
type NewerError struct {
	Path    string
	Version int
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("%s was written by a newer bot-bottle (format %d, this one knows up to %d)", e.Path, e.Version, Version)
}

// Hint says what to do.
func (e *NewerError) Hint() string { return "use the newer bot-bottle for this bottle" }

func (s Store) recordFile(identity string) string {
	return filepath.Join(s.Dir(identity), "metadata.json")
}

// Write records m. What another version of the program wrote beside it stays.
func (s Store) Write(m Metadata) error {
	if err := s.write(m); err != nil {
		return fmt.Errorf("cannot record bottle %s: %w", m.Identity, err)
	}
	return nil
}

func (s Store) write(m Metadata) error {
	if err := makeDir(s.Dir(m.Identity)); err != nil {
		return err
	}
	path := s.recordFile(m.Identity)
	others, err := unknownFields(path)
	if err != nil {
		return err
	}
	m.Version = Version
	data, err := merged(m, others)
	if err != nil {
		return err
	}
	return WriteFile(path, data)
}

// unknownFields are those of the record at path that Metadata does not have. A record of a
// newer version is not written over.
func unknownFields(path string) (map[string]json.RawMessage, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all map[string]json.RawMessage
	var m Metadata
	if json.Unmarshal(data, &all) != nil || json.Unmarshal(data, &m) != nil {
		return nil, nil // damaged: it has nothing to keep
	}
	if m.Version > Version {
		return nil, &NewerError{path, m.Version}
	}
	for _, name := range knownFields() {
		delete(all, name)
	}
	return all, nil
}

// knownFields are the names that a Metadata may have in a file.
func knownFields() []string {
	var names []string
	for field := range reflect.TypeFor[Metadata]().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

func merged(m Metadata, others map[string]json.RawMessage) ([]byte, error) {
	data, err := json.MarshalIndent(m, "", "  ")
	if err == nil && len(others) > 0 {
		var all map[string]json.RawMessage
		if err := json.Unmarshal(data, &all); err != nil {
			return nil, err
		}
		maps.Copy(all, others)
		data, err = json.MarshalIndent(all, "", "  ")
	}
	return append(data, '\n'), err
}

// Read returns what Write recorded. The error is fs.ErrNotExist when there is nothing, a
// *DamagedError when it cannot be read or was set aside for that, and a *NewerError when it
// was written in a format that is not known here; what could be read of it comes along.
func (s Store) Read(identity string) (Metadata, error) {
	path := s.recordFile(identity)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Metadata{}, s.whySetAside(identity, err)
	}
	if err != nil {
		return Metadata{}, err
	}
	var m Metadata
	if err := json.Unmarshal(data, &m); err != nil {
		return Metadata{Identity: identity}, &DamagedError{identity, path, err}
	}
	switch {
	case m.Version > Version:
		return m, &NewerError{path, m.Version}
	case m.Identity != identity:
		return Metadata{Identity: identity}, &DamagedError{identity, path, fmt.Errorf("it is of bottle %q", m.Identity)}
	}
	return m, nil
}

// aside begins the names of records that were set aside.
const aside = "metadata.json.damaged-"

// whySetAside is the error for a record that is missing.
func (s Store) whySetAside(identity string, missing error) error {
	entries, err := os.ReadDir(s.Dir(identity))
	if err != nil {
		return missing
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), aside) {
			return &DamagedError{identity, filepath.Join(s.Dir(identity), entry.Name()), errors.New("it was set aside")}
		}
	}
	return missing
}

// SetAside gives a damaged record another name, so that nothing writes over it, and
// returns that; "" if there was nothing to do, or somebody is at work on the bottle.
func (s Store) SetAside(identity string, now time.Time) (string, error) {
	release, err := s.Lock(identity)
	if err != nil {
		return "", nil
	}
	defer release()
	path := s.recordFile(identity)
	var damaged *DamagedError
	if _, err := s.Read(identity); !errors.As(err, &damaged) || damaged.Path != path {
		return "", nil
	}
	to := filepath.Join(s.Dir(identity), aside+now.UTC().Format("20060102T150405Z"))
	if err := rename(path, to); err != nil {
		return "", fmt.Errorf("cannot set %s aside: %w", path, err)
	}
	return to, nil
}

// Ending is how a bottle's agent ended.
type Ending struct {
	At   time.Time
	Code *int   // its exit status; nil: nobody saw it
	How  string // in a few words
}

// End records how the agent ended: as the last line of the audit log, to which nobody writes
// any more, and then in the record.
func (s Store) End(identity string, e Ending) error {
	m, err := s.Read(identity)
	if err != nil {
		return err
	}
	m.ended(e)
	head, err := s.CloseAudit(identity, e)
	if err != nil {
		return err
	}
	if head != nil {
		m.Audit = head
	}
	return s.Write(m)
}

// AnotherRun reports whether the record is of another run than that which began at a time; the zero
// time is that of a run of which nothing is known.
func (m Metadata) AnotherRun(began time.Time) bool {
	return !began.IsZero() && !m.StartedAt.Equal(began)
}

// Saw puts an ending into a record that has none, if somebody saw it.
func (m *Metadata) Saw(e Ending) {
	if m.EndedAt == nil && e.Code != nil {
		m.ended(e)
	}
}

func (m *Metadata) ended(e Ending) {
	if e.At.Before(m.StartedAt) {
		e.At = m.StartedAt // the clock was set back meanwhile, or the engine's is behind
	}
	at := e.At.UTC()
	m.EndedAt, m.ExitCode = &at, e.Code
}
