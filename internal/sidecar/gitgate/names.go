package gitgate

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/dlp"
)

// scanNames searches what is neither in a file nor in a message: names of files and refs.
func (c *checker) scanNames(ctx context.Context, in *inspection, refs []string, memory *dlp.Memory) error {
	paths := in.shape.paths
	if err := c.searchNames(ctx, in, "tree", slices.Sorted(maps.Keys(paths)), memory, func(path string) object {
		return object{id: paths[path], path: path}
	}); err != nil {
		return err
	}
	return c.searchNames(ctx, in, "ref", refs, memory, func(ref string) object { return object{path: ref} })
}

// searchNames searches names as they are, and with their parts put together: a directory's
// name and a file's may be the halves of a secret. It does so by the megabyte: a million
// names are more than one scan takes.
func (c *checker) searchNames(ctx context.Context, in *inspection, kind string, names []string, memory *dlp.Memory, of func(string) object) error {
	for len(names) > 0 {
		n, size := 0, 0
		for n < len(names) && (n == 0 || size+len(names[n]) < wholeBlob) {
			size += len(names[n]) + 1
			n++
		}
		text := []byte(strings.Join(names[:n], "\n"))
		found := make(map[string]bool)
		for _, data := range [][]byte{text, bytes.ReplaceAll(text, []byte("/"), nil)} {
			findings, err := c.scanner.Scan(ctx, dlp.Input{Kind: dlp.Body, Data: data, Memory: memory})
			for _, f := range findings {
				at := object{}
				if f.Start >= 0 {
					at = of(names[bytes.Count(data[:f.Start], []byte("\n"))])
				}
				if key := fmt.Sprint(f.Rule, f.Name, at); !found[key] {
					found[key] = true
					in.findings = append(in.findings, finding{Finding: f, object: at, kind: kind})
				}
			}
			if err != nil {
				return unsearched(object{path: "the name of a file or a ref"}, kind, err)
			}
		}
		names = names[n:]
	}
	return nil
}

// clean takes secrets out of what somebody is told: names and messages are the client's.
func (c *checker) clean(text string) string {
	text = printable(text)
	findings, err := c.scanner.Scan(context.Background(), dlp.Input{Kind: dlp.Body, Data: []byte(text)})
	if err != nil {
		return "[not shown]"
	}
	for i, f := range findings {
		if f.Start < 0 {
			return "[redacted:" + f.Rule + "]"
		}
		findings[i].Action = dlp.Redact
	}
	return string(c.scanner.Redact([]byte(text), findings))
}

// short names a commit for people.
func (c *checker) short(made commit) string {
	return fmt.Sprintf("%.10s “%s”", made.id, cut(c.clean(made.subject), 60))
}
