package bottle

import "context"

// Runner is the part of a Bottle that runs commands.
type Runner interface {
	Run(ctx context.Context, argv []string, user User, io IO) (int, error)
}

// RunScript is what a Bottle's Exec does, by its Run.
func RunScript(ctx context.Context, b Runner, script string, user User) (ExecResult, error) {
	return Output(ctx, b, []string{"/bin/sh", "-c", script}, user)
}

// maxOutput bounds what Output keeps of each stream, in bytes.
const maxOutput = 1 << 20

// Output runs argv to its end without input, and returns the beginning of what it printed.
func Output(ctx context.Context, b Runner, argv []string, user User) (ExecResult, error) {
	stdout, stderr := &beginning{}, &beginning{}
	code, err := b.Run(ctx, argv, user, IO{Stdout: stdout, Stderr: stderr})
	return ExecResult{Code: code, Stdout: stdout.kept, Stderr: stderr.kept}, err
}

// beginning keeps the first maxOutput bytes and swallows the rest.
type beginning struct{ kept []byte }

func (b *beginning) Write(p []byte) (int, error) {
	b.kept = append(b.kept, p[:min(maxOutput-len(b.kept), len(p))]...)
	return len(p), nil
}
