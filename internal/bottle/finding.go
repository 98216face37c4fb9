package bottle

import "context"

// Level is how much a finding matters.
type Level string

const (
	LevelOK      Level = "ok"
	LevelNote    Level = "note"    // works, but somebody may want to know or change it
	LevelProblem Level = "problem" // something does not work until it is mended
)

// Finding is one thing that was looked at on a host. What is in Text and Fix may have been
// said by an engine: it is printed like all that is not ours.
type Finding struct {
	Area  string `json:"area"`
	Level Level  `json:"level"`
	Text  string `json:"text"`
	Fix   string `json:"fix,omitempty"` // the command that mends it, or what to do
}

// Diagnoser is a Driver that knows more about its host than whether it can be used.
type Diagnoser interface {
	// Diagnose looks and changes nothing. It is asked only where Available is nil.
	Diagnose(context.Context) []Finding
}

// Diagnose is what there is to know about a backend on this host.
func Diagnose(ctx context.Context, b Backend) []Finding {
	if err := b.Available(ctx); err != nil {
		return []Finding{{Area: b.Name(), Level: LevelProblem, Text: err.Error(), Fix: HintOf(err)}}
	}
	if d, ok := b.(Diagnoser); ok {
		return d.Diagnose(ctx)
	}
	return []Finding{{Area: b.Name(), Level: LevelOK, Text: "it can be used"}}
}

// Diagnose asks the driver, if it is one that knows.
func (e erased[P, C]) Diagnose(ctx context.Context) []Finding {
	if d, ok := e.Driver.(Diagnoser); ok {
		return d.Diagnose(ctx)
	}
	return []Finding{{Area: e.Name(), Level: LevelOK, Text: "it can be used"}}
}
