package state

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
)

func (s Store) mustWriteFile(t *testing.T, name, content string) {
	t.Helper()
	path := filepath.Join(s.Dir(identity), name)
	if err := errors.Join(os.MkdirAll(s.Dir(identity), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// What a later version writes beside what this one knows is there after this one wrote.
func TestUnknownFieldsAreKept(t *testing.T) {
	s := Open(t.TempDir())
	s.mustWriteFile(t, "metadata.json", `{"version": 1, "identity": "dev-aaaaaa", "agent": "dev", "color": {"of": ["the", "cap"]}, "exit_code": 4}`)
	m, err := s.Read(identity)
	if err != nil {
		t.Fatal(err)
	}
	m.ExitCode = nil // known, and gone on purpose
	if err := errors.Join(s.Write(m), s.End(identity, Ending{At: time.Now()})); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(s.recordFile(identity))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if color, _ := json.Marshal(got["color"]); string(color) != `{"of":["the","cap"]}` || got["version"] != float64(Version) || got["exit_code"] != nil {
		t.Errorf("got %s", data)
	}
}

// A record of a format that came later is read as far as it goes, and never written over.
func TestANewerRecordIsLeftAlone(t *testing.T) {
	s := Open(t.TempDir())
	s.mustWriteFile(t, "metadata.json", `{"version": 99, "identity": "dev-aaaaaa", "agent": "dev"}`)
	m, err := s.Read(identity)
	var newer *NewerError
	if !errors.As(err, &newer) || m.Agent != "dev" || newer.Hint() == "" {
		t.Errorf("got %+v, %v", m, err)
	}
	if err := s.Write(Metadata{Identity: identity}); !errors.As(err, &newer) {
		t.Errorf("it was written over: %v", err)
	}
	if to, err := s.SetAside(identity, time.Now()); to != "" || err != nil {
		t.Errorf("it was set aside: %s, %v", to, err)
	}
}

// A damaged record stays, under another name; the bottle counts as damaged until somebody
// looks after it.
func TestADamagedRecordIsSetAside(t *testing.T) {
	for name, content := range map[string]string{"half": `{"version": 1, "iden`, "empty": "", "another's": `{"version": 1, "identity": "dev-bbbbbb"}`, "no object": `[1]`, "wrong type": `{"version": 1, "identity": "dev-aaaaaa", "runs": "many"}`} {
		t.Run(name, func(t *testing.T) {
			s := Open(t.TempDir())
			s.mustWriteFile(t, "metadata.json", content)
			var damaged *DamagedError
			if _, err := s.Read(identity); !errors.As(err, &damaged) || !strings.Contains(damaged.Hint(), "rm --force dev-aaaaaa") {
				t.Fatalf("got %v", err)
			}
			release, err := s.Lock(identity)
			if err != nil {
				t.Fatal(err)
			}
			if to, err := s.SetAside(identity, time.Now()); to != "" || err != nil {
				t.Errorf("it was set aside under who works on it: %s, %v", to, err)
			}
			release()
			to, err := s.SetAside(identity, time.Now())
			if err != nil || to == "" {
				t.Fatalf("got %q, %v", to, err)
			}
			if data, err := os.ReadFile(to); err != nil || string(data) != content {
				t.Errorf("got %q, %v", data, err)
			}
			if _, err := s.Read(identity); !errors.As(err, &damaged) || damaged.Path != to {
				t.Errorf("got %v", err)
			}
			if again, err := s.SetAside(identity, time.Now()); again != "" || err != nil {
				t.Errorf("got %q, %v", again, err)
			}
			if ids, err := s.Identities(); err != nil || !slices.Equal(ids, []string{identity}) {
				t.Errorf("got %v, %v", ids, err)
			}
			if err := s.Write(Metadata{Identity: identity, Agent: "dev"}); err != nil { // repaired
				t.Fatal(err)
			}
			if m, err := s.Read(identity); err != nil || m.Agent != "dev" {
				t.Errorf("got %+v, %v", m, err)
			}
		})
	}
}

// The clock was set back while the bottle ran: it does not end before it began.
func TestTheClockJumps(t *testing.T) {
	s := Open(t.TempDir())
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := errors.Join(s.Write(Metadata{Identity: identity, StartedAt: began}), s.End(identity, Ending{At: began.Add(-time.Hour)})); err != nil {
		t.Fatal(err)
	}
	if m, err := s.Read(identity); err != nil || !m.EndedAt.Equal(began) {
		t.Errorf("got %v, %v", m.EndedAt, err)
	}
}

// Upgrades: what the version before wrote is read as it was meant. The files are of a real
// bottle that ended, and of one that was running.
func TestStateOfFormat1IsRead(t *testing.T) {
	home := t.TempDir()
	if err := os.CopyFS(home, os.DirFS("testdata/v1")); err != nil {
		t.Fatal(err)
	}
	s := Open(home)
	if owner, err := s.Owner(); err != nil || len(owner) != 16 {
		t.Errorf("got %q, %v", owner, err)
	}
	if ids, err := s.Identities(); err != nil || !slices.Equal(ids, []string{"reviewer-nsi4iz", "sleeper-2jnhlr"}) {
		t.Errorf("got %v, %v", ids, err)
	}
	m, err := s.Read("reviewer-nsi4iz")
	if err != nil || m.Version != 1 || m.Agent != "reviewer" || m.Bottle != "asks" || m.Backend != "docker" || m.EndedAt == nil || m.ExitCode == nil || *m.ExitCode != 0 ||
		m.Placeholders["ANTHROPIC_API_KEY"] == "" || !strings.Contains(m.Preflight, "supervise") || m.Audit == nil || m.Audit.Lines != 8 || m.Image != "bot-bottle/claude:b6cea0e6219a" {
		t.Errorf("got %+v, %v", m, err)
	}
	log, err := s.AuditLog("reviewer-nsi4iz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	if report, err := audit.Verify(log, audit.Expect{Bottle: "reviewer-nsi4iz", Head: m.Audit, Ended: true}); err != nil || report.Runs != 1 || report.Open {
		t.Errorf("got %+v, %v", report, err)
	}
	if m, err := s.Read("sleeper-2jnhlr"); err != nil || m.EndedAt != nil || m.Runs != 0 {
		t.Errorf("got %+v, %v", m, err)
	}
	if err := s.End("sleeper-2jnhlr", Ending{At: time.Now()}); err != nil { // as a cleanup does
		t.Fatal(err)
	}
	if m, err := s.Read("sleeper-2jnhlr"); err != nil || m.Version != Version || m.EndedAt == nil || m.Audit == nil || len(m.Placeholders) != 1 {
		t.Errorf("got %+v, %v", m, err)
	}
	for _, identity := range []string{"reviewer-nsi4iz", "sleeper-2jnhlr"} {
		if asked, err := s.Requests(identity); err != nil || len(asked) != 0 {
			t.Errorf("got %v, %v", asked, err)
		}
	}
}

// A shared lock lets others share, and keeps out who wants it alone.
func TestCacheShare(t *testing.T) {
	s := Open(t.TempDir())
	first, err := s.CacheShare(t.Context(), "images")
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.CacheShare(t.Context(), "images")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		release, err := s.CacheLock(t.Context(), "images")
		if err == nil {
			release()
		}
		got <- err
	}()
	first()
	select {
	case err := <-got:
		t.Fatalf("it was taken under who shares it: %v", err)
	default:
	}
	second()
	if err := <-got; err != nil {
		t.Error(err)
	}
}
