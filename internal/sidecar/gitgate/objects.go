package gitgate

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Bounds of what one push may bring.
const (
	maxObjects  = 1_000_000
	maxCommits  = 50_000
	maxBlob     = 100 << 20
	maxText     = 1 << 20  // a commit or a tag
	maxTree     = 16 << 20 // one directory
	maxEntries  = 1_000_000
	maxDepth    = 128
	maxBytes    = 8 << 30 // of all objects, unpacked
	maxPathSize = 4096
)

// object is one that a push brings. Path is one of those under which it is reached; "" for
// what is not a file.
type object struct {
	id   string
	path string
}

// errTooMuch wraps what goes over a bound.
type errTooMuch struct{ what string }

func (e *errTooMuch) Error() string { return e.what }

// tooOdd is for the client, too: what git reads, but does not write.
func tooOdd(format string, args ...any) error {
	return &errTooMuch{"it brings " + fmt.Sprintf(format, args...) + ", which git does not write: make those commits with git"}
}

func tooMuch(format string, args ...any) error { return &errTooMuch{fmt.Sprintf(format, args...)} }

// newObjects lists what is reachable from tips and from no ref of the mirror: all that the
// upstream does not have.
func (g git) newObjects(ctx context.Context, tips []string) ([]object, error) {
	var all []object
	err := g.stream(ctx, strings.NewReader(strings.Join(tips, "\n")+"\n"), func(out *bufio.Reader) (err error) {
		all, err = listed(out)
		return err
	}, "rev-list", "--objects", "--stdin", "--not", "--all")
	return all, err
}

// listed reads what git lists of objects: an id and a path each.
func listed(out *bufio.Reader) (all []object, err error) {
	for {
		line, err := out.ReadString('\n')
		if line != "" {
			id, path, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			all = append(all, object{id, path})
		}
		switch {
		case len(all) > maxObjects:
			return nil, tooMuch("it brings more than %d objects", maxObjects)
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, err
		}
	}
}

// each reads objects in order, and hands each over with its type. data is the receiver's to
// keep. big says what becomes of a blob of more than wholeBlob bytes, which it must read to
// its end.
func (g git) each(ctx context.Context, objects []object, take func(object, string, []byte) error, big func(object, io.Reader, int64) error) error {
	return g.stream(ctx, ids(objects), func(out *bufio.Reader) error {
		for _, o := range objects {
			if err := next(out, o, take, big); err != nil {
				return err
			}
		}
		return nil
	}, "cat-file", "--batch", "--buffer")
}

// ids are the objects' names, a line each.
func ids(objects []object) io.Reader {
	var b bytes.Buffer
	for _, o := range objects {
		b.WriteString(o.id)
		b.WriteByte('\n')
	}
	return &b
}

// wholeBlob is how large a blob may be to be looked at in one piece.
const wholeBlob = 4 << 20

// next reads one object (git-cat-file(1), BATCH OUTPUT).
func next(out *bufio.Reader, o object, take func(object, string, []byte) error, big func(object, io.Reader, int64) error) error {
	head, err := out.ReadString('\n')
	if err != nil {
		return fmt.Errorf("git cannot read what was pushed: %w", cutShort(err))
	}
	fields := strings.Fields(head)
	if len(fields) != 3 || fields[0] != o.id {
		return fmt.Errorf("git cannot read object %.12s", o.id)
	}
	size, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return err
	}
	most := int64(maxText)
	switch fields[1] {
	case "blob":
		most = maxBlob
	case "tree":
		most = maxTree
	}
	if size > most {
		return tooMuch("%s is larger than %d MiB", describe(o, fields[1]), most>>20)
	}
	if fields[1] == "blob" && size > wholeBlob {
		content := io.LimitReader(out, size)
		if err := big(o, content, size); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			return err
		}
	} else {
		data := make([]byte, size)
		if _, err := io.ReadFull(out, data); err != nil {
			return cutShort(err)
		}
		if err := take(o, fields[1], data); err != nil {
			return err
		}
	}
	_, err = out.Discard(1) // the newline after it
	return cutShort(err)
}

// cutShort is the error of output that ends before its end.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func describe(o object, kind string) string {
	if o.path != "" {
		return printable(o.path)
	}
	return fmt.Sprintf("%s %.12s", kind, o.id)
}

// commit is what a commit says of itself.
type commit struct {
	id                string
	tree              string
	parents           []string
	author, committer person
	subject           string
}

// person is who an object names.
type person struct{ name, email string }

func (p person) String() string { return p.name + " <" + p.email + ">" }

// parseCommit reads a commit that git's fsck has passed. That lets some headers come
// twice, of which others may read the second.
func parseCommit(id string, data []byte) (commit, error) {
	c := commit{id: id}
	head, message, _ := strings.Cut(string(data), "\n\n")
	times := make(map[string]int, 4)
	for line := range strings.SplitSeq(head, "\n") {
		key, value, _ := strings.Cut(line, " ")
		switch times[key]++; key {
		case "tree":
			c.tree = value
		case "parent":
			c.parents = append(c.parents, value)
		case "author":
			c.author = parsePerson(value)
		case "committer":
			c.committer = parsePerson(value)
		}
	}
	if times["tree"] != 1 || times["author"] != 1 || times["committer"] != 1 {
		return c, tooOdd("a commit without a tree, an author or a committer, or with two")
	}
	for line := range strings.SplitSeq(message, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			c.subject = line
			break
		}
	}
	return c, nil
}

// parsePerson reads "name <email> time zone".
func parsePerson(s string) person {
	name, rest, _ := strings.Cut(s, "<")
	email, _, _ := strings.Cut(rest, ">")
	return person{strings.TrimSpace(name), strings.TrimSpace(email)}
}
