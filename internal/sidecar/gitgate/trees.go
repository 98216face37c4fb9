package gitgate

import (
	"bytes"
	"errors"
	"math"
	"slices"
)

// entry is one of a tree. Its parts are the tree's own bytes.
type entry struct{ mode, name, id []byte }

// dir reports whether it is a directory.
func (e entry) dir() bool { return string(e.mode) == "40000" }

// plainModes are what git itself writes (gitformat-index(5)), and 100664, which it wrote
// once. It reads others as one of these, and so may do what the gate has not seen.
func plainModes() []string {
	return []string{"100644", "100755", "100664", "120000", "40000", "160000"}
}

var errTree = errors.New("git cannot read a tree that was pushed")

// parseTree reads a tree: "mode name\0id" again and again.
func parseTree(data []byte, idSize int, take func(entry) error) error {
	for len(data) > 0 {
		mode, rest, ok := bytes.Cut(data, []byte(" "))
		name, rest, ok2 := bytes.Cut(rest, []byte{0})
		if !ok || !ok2 || len(rest) < idSize || len(name) == 0 {
			return errTree
		}
		if !slices.Contains(plainModes(), string(mode)) {
			return tooOdd("a file of mode %s", cut(printable(string(mode)), 20))
		}
		if err := take(entry{mode, name, rest[:idSize]}); err != nil {
			return err
		}
		data = rest[idSize:]
	}
	return nil
}

// Bounds of what directories may hold, so that the gate can remember it.
const (
	maxLinks = 16_000_000 // directories in directories, counted for each tree
	maxNames = 64 << 20   // bytes of all paths
)

// shape is how the pushed directories hold each other, and the paths in them. A push may
// bring a million, of which each may hold many, so that little is kept of each.
type shape struct {
	numbers map[string]int32 // of directories, by their ids' bytes
	files   []int32          // what each holds that is no directory
	below   [][]int32        // directories that each holds
	links   int
	paths   map[string]string // what is in new trees, to the id of the tree that has it
	bytes   int
}

func newShape() *shape {
	return &shape{numbers: make(map[string]int32), paths: make(map[string]string)}
}

func (s *shape) number(id string) int32 {
	n, ok := s.numbers[id]
	if !ok {
		n = int32(len(s.files))
		s.numbers[id] = n
		s.files, s.below = append(s.files, 0), append(s.below, nil)
	}
	return n
}

// add takes a tree in.
func (s *shape) add(o object, id string, data []byte) error {
	here := s.number(id)
	path := []byte(o.path)
	if len(path) > 0 {
		path = append(path, '/')
	}
	prefix, files := len(path), 0
	var below []int32
	err := parseTree(data, len(id), func(e entry) error {
		if e.dir() {
			below = append(below, s.number(string(e.id)))
		} else {
			files++
		}
		path = append(path[:prefix], e.name...)
		return s.path(o.id, path)
	})
	if s.links += len(below); s.links > maxLinks {
		return tooMuch("its directories hold more than %d others in all", maxLinks)
	}
	s.files[here], s.below[here] = int32(files), below
	return err
}

func (s *shape) path(tree string, path []byte) error {
	if len(path) > maxPathSize {
		return tooMuch("it has a path of more than %d bytes", maxPathSize)
	}
	if _, known := s.paths[string(path)]; known {
		return nil
	}
	if s.bytes += len(path); s.bytes > maxNames {
		return tooMuch("its paths are more than %d MiB in all", maxNames>>20)
	}
	s.paths[string(path)] = tree
	return nil
}

// bounded refuses trees that unfold to more than anybody could check out: directories that
// hold each other many times over (a "git bomb"), or too deep.
func (s *shape) bounded() error {
	sizes, heights := make([]int32, len(s.files)), make([]int16, len(s.files))
	for i := range s.files {
		if err := s.unfold(int32(i), 0, sizes, heights); err != nil {
			return err
		}
	}
	return nil
}

// unfold finds how many files a directory comes to, and how many directories deep it is.
// What is known of one has a size above 0.
func (s *shape) unfold(i int32, depth int, sizes []int32, heights []int16) error {
	if sizes[i] > 0 {
		return nil
	}
	if depth > maxDepth {
		return tooMuch("its directories are more than %d deep", maxDepth)
	}
	total, height := 1+int64(s.files[i]), int16(0)
	for _, j := range s.below[i] {
		if err := s.unfold(j, depth+1, sizes, heights); err != nil {
			return err
		}
		total, height = total+int64(sizes[j]), max(height, heights[j]+1)
		if total > maxEntries {
			return tooMuch("one of its directories unfolds to more than %d files", maxEntries)
		}
	}
	if height > maxDepth {
		return tooMuch("its directories are more than %d deep", maxDepth)
	}
	sizes[i], heights[i] = int32(min(total, math.MaxInt32)), height
	return nil
}
