package bottle

import (
	"context"
	"io"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/image"
)

// Driver is what a backend's author writes. P and C are its own plan types: plain
// data, printable, golden-tested.
//
// Order: Available may be called at any time and alone decides whether the rest is
// worth trying. Prepare comes before Launch, PrepareCleanup before Cleanup. All
// methods may be called concurrently, also for one identity: the second Launch of
// a running identity fails. After an error from Prepare or PrepareCleanup nothing
// was created or changed; after an error from Launch everything that it created is
// gone again, as far as the backend still answers; after an error from Cleanup the
// rest of the plan was still tried. A cancelled context makes each return soon,
// with the same promises.
type Driver[P Plan, C CleanupPlan] interface {
	Name() string
	// Available is nil, or says why the backend cannot be used on this host and
	// what to do about it.
	Available(context.Context) error
	// Place names where its bottles are, such as an engine: with another place come other
	// bottles. A bottle's place is on record, and its record is not touched from elsewhere.
	Place(context.Context) (string, error)
	// Prepare resolves names, images, runtime and files. It creates no remote or
	// runtime resource of the bottle; building a missing image is Launch's work. With
	// Spec.Resume the error is ErrRunning when the bottle runs, ErrElsewhere when it is in another
	// place, and ErrGone when its home or workspace is not there any more; what a failed Launch leaves is then as it was before.
	Prepare(context.Context, Spec) (P, error)
	// Launch brings the bottle up with its agent running and hands it over. The
	// caller closes the Bottle.
	Launch(context.Context, P, Progress) (Bottle, error)
	// MakeImages makes the images that Launch would, and nothing else of the bottle.
	MakeImages(context.Context, P, Progress) error
	// Open finds a running bottle. The error is ErrNotRunning when there is none.
	Open(ctx context.Context, identity string) (Bottle, error)
	// Audit reads what the bottle's last run wrote to its audit log, from the run's
	// beginning, as long as its bundle is there to ask; with follow, until the run ends, or a
	// little less, even half a line: once the bottle is taken down, the log that is kept has it
	// all, byte for byte. The error is ErrNotRunning when its bundle is not there: so has it then.
	Audit(ctx context.Context, identity string, follow bool) (io.ReadCloser, error)
	// Transcript reads the asciicast of the bottle's last run that is not in its state: of one
	// that runs, or ended and was not taken down yet. Secrets that can be told by their shape are
	// not in it. The error is ErrNotRunning when there is none, ErrNoTerminal when there never was.
	Transcript(ctx context.Context, identity string) (io.ReadCloser, error)
	// Remove removes a stopped bottle for good: home, workspace and record, also one whose
	// record is damaged or gone. The error is ErrRunning when it runs.
	Remove(ctx context.Context, identity string) error
	// UploadPack serves a repository in the bottle's workspace, whether or not it runs, to a
	// git fetch on the other end of the streams (git-upload-pack(1)), and returns git's exit
	// status. repository is relative to the workspace. Nothing that the agent wrote runs on the
	// host. The error is ErrGone when there is no workspace.
	UploadPack(ctx context.Context, identity, repository string, streams IO) (int, error)
	// Files opens the files of a bottle. Of one that does not run, there are home and workspace,
	// and nobody else can start it meanwhile. The error is ErrGone when it has neither.
	Files(ctx context.Context, identity string) (Files, error)
	// Build builds what the image of a running bottle would be with one more layer, and changes
	// nothing: the bottle has it when it is resumed, if the layer's request was approved by then.
	// The error is ErrNotRunning when it does not run.
	Build(ctx context.Context, identity string, l image.Layer, say Progress) error
	// PrepareCleanup enumerates orphans: it looks and never touches.
	PrepareCleanup(context.Context, CleanupOptions) (C, error)
	// Cleanup removes them; it is safe to repeat, and leaves alone what came to life since
	// the plan was made. It tells what became of each, in any order and one at a time; a nil
	// error is a removal, ErrCameToLife one that was not wanted any more. Its own error is
	// that it could not begin.
	Cleanup(ctx context.Context, plan C, tell func(Leftover, error)) error
	// Active lists every running agent of this backend, in order of slug.
	Active(context.Context) ([]ActiveAgent, error)
}

// Progress is told, in a few words, what takes time. It may be called from any
// goroutine; a nil Progress is fine.
type Progress func(string)

// Say reports s, if anybody listens.
func (p Progress) Say(s string) {
	if p != nil {
		p(s)
	}
}

// ActiveAgent is a running agent.
type ActiveAgent struct {
	Backend   string            `json:"backend"`
	Slug      string            `json:"identity"`
	AgentName string            `json:"agent"`      // "?" if unknown
	StartedAt string            `json:"started_at"` // RFC 3339, "" if unknown
	Services  []control.Service `json:"services"`   // sorted
	Status    string            `json:"status"`     // in words: Running, or what is wrong
}

// Statuses of a running agent that every backend knows.
const (
	Running = "running"
	Paused  = "paused"
	CutOff  = "running, cut off: its sidecar bundle does not run"

	Unguarded = "running, cut off: its pipelock does not run"

	Silent = "does not answer (bot-bottle stop ends it)"
)
