package dlp

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// A secret can be cut into the strings of a document, which whoever reads the document puts
// together again: the elements of a list, one member of many objects, the fields of a form.
// So the strings are searched joined, in the document's order, all of them and those of each
// name; of long ones the ends, which is where a cut is.

const (
	maxEnd   = 256 // how much of each end of a string is joined
	maxNames = 256 // that are told apart
	minCut   = 24  // of data worth a look
)

// cuts are the strings of a document.
type cuts struct {
	all   joints
	named map[string]*joints
	part  int // of the document: what is in two of them does not belong together
}

// joints are strings, joined.
type joints struct {
	data   []byte
	places []int // where one ends and the next begins
	part   int
}

func (j *joints) add(text []byte, part int) {
	if j.part != part {
		j.data, j.part = append(j.data, '\n'), part
	}
	head, tail := text, []byte(nil)
	if len(text) > 2*maxEnd {
		head, tail = text[:maxEnd], text[len(text)-maxEnd:]
	}
	j.places = append(j.places, len(j.data))
	j.data = appendPlain(j.data, head)
	if tail != nil {
		j.data = appendPlain(append(j.data, '\n'), tail)
	}
}

// appendPlain appends text with its escapes undone.
func appendPlain(dst, text []byte) []byte {
	out, places := undo(dst, text, unescapeOne, nextEscape)
	if len(places) == 0 {
		return append(dst, text...)
	}
	return out
}

// add takes note of a string; without a name and a text, of the end of a part.
func (s *cuts) add(name, text []byte) {
	if name == nil && text == nil {
		s.part++
	}
	if len(text) == 0 {
		return
	}
	s.all.add(text, s.part)
	named := s.named[string(name)]
	if named == nil {
		if len(s.named) == maxNames {
			return
		}
		if s.named == nil {
			s.named = map[string]*joints{}
		}
		named = &joints{part: s.part}
		s.named[string(name)] = named
	}
	named.add(text, s.part)
}

// cut searches the strings of a view, joined.
func (c *scan) cut(v *view) {
	if len(v.data) < minCut || v.turned || v.escaped || !c.work(len(v.data)/16) {
		return
	}
	var found cuts
	add := found.add
	for _, read := range [...]func([]byte, func(name, text []byte)){quotedStrings, formValues, packetLines, partBodies, protoStrings} {
		found = cuts{}
		read(v.data, add)
		c.joined(v, &found.all)
		for _, named := range found.named {
			if len(named.places) < len(found.all.places) {
				c.joined(v, named)
			}
		}
	}
}

func (c *scan) joined(v *view, j *joints) {
	if len(j.places) < 2 || !c.decode(len(j.data)) {
		return
	}
	child := v.child("joined", j.data, nil)
	child.joints = j.places[1:]
	c.literals(child)
}

// spans reports whether what stands there is in more than one string.
func (v *view) spans(start, end int) bool {
	i, _ := slices.BinarySearch(v.joints, start+1)
	return i < len(v.joints) && v.joints[i] < end
}

// maxParts is in how many strings a token of a known shape may be.
const maxParts = 64

// matchJoined tries a rule where what follows may be the next string, or no more of it.
func (c *scan) matchJoined(v *view, r *rule, at int) (start, end int, ok bool) {
	low := 0
	i, begins := slices.BinarySearch(v.joints, at-r.before)
	if begins {
		low = at - r.before
	}
	for ; i < len(v.joints)+1; i++ {
		until := len(v.data)
		if i < len(v.joints) {
			until = v.joints[i]
		}
		if until <= at {
			continue
		}
		start, end, ok = r.match(v.data[low:until], at-low)
		if start, end = start+low, end+low; !c.work(end-start) || ok && v.spans(start, end) {
			return start, end, ok
		}
		if end < until || until-at > maxParts*maxToken {
			return start, end, false
		}
	}
	return at, at, false
}

// quotedStrings are the values between quotes, as of JSON, wherever they stand; a name is
// one before a colon.
func quotedStrings(data []byte, add func(name, text []byte)) {
	var name []byte
	for {
		start := bytes.IndexByte(data, '"')
		if start < 0 {
			return
		}
		if !isStructure(data[:start]) {
			add(nil, nil)
		}
		data = data[start+1:]
		end := endOfString(data)
		text := data[:end]
		data = data[min(end+1, len(data)):]
		if i := skipBlanks(data); i < len(data) && data[i] == ':' {
			name = text
			continue
		}
		if start := text[:min(len(text), minCut)]; textLen(start) < len(start) {
			continue // such a string has no control characters
		}
		add(name, text)
		if isJSON(text) {
			if inner, places := undo(nil, text, unescapeOne, nextEscape); len(places) > 0 {
				quotedStrings(inner, add)
			}
		}
	}
}

// isJSON reports whether a string seems to be a document itself.
func isJSON(text []byte) bool {
	i := skipBlanks(text)
	return i < len(text) && (text[i] == '{' || text[i] == '[' || text[i] == '\\') && bytes.IndexByte(text, '\\') >= 0
}

// isStructure reports whether this can stand between two strings of JSON.
func isStructure(gap []byte) bool {
	if len(gap) > 2*maxName {
		return false
	}
	for _, c := range gap {
		if c > ' ' && !isDigit(c) && bytes.IndexByte([]byte("{}[],:+-.truefalsnE"), c) < 0 {
			return false
		}
	}
	return true
}

func skipBlanks(data []byte) int {
	i := 0
	for i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\t' || data[i] == '\r') {
		i++
	}
	return i
}

// endOfString is where the quote is that ends a string.
func endOfString(data []byte) int {
	for from := 0; ; from++ {
		i := bytes.IndexByte(data[from:], '"')
		if i < 0 {
			return len(data)
		}
		from += i
		slashes := from
		for slashes > 0 && data[slashes-1] == '\\' {
			slashes--
		}
		if (from-slashes)%2 == 0 {
			return from
		}
	}
}

// maxName is how long the name of a field may be.
const maxName = 128

// formValues are those of a form or a query.
func formValues(data []byte, add func(name, text []byte)) {
	next := bytes.IndexByte(data, '&')
	if next < 0 {
		return
	}
	// The first name has no & before it.
	begin := bytes.LastIndexAny(data[:next], "?\n \"'")
	for begin++; begin < len(data); {
		field := data[begin:]
		if n := bytes.IndexByte(field, '&'); n >= 0 {
			field = field[:n]
		}
		begin += len(field) + 1
		if i := bytes.IndexByte(field[:min(len(field), maxName)], '='); i > 0 {
			text := field[i+1:]
			if n := bytes.IndexAny(text, " \r\n\"'<>"); n >= 0 {
				text = text[:n]
			}
			add(field[:i], text)
		}
	}
}

// packetLines are git's, each with its length in front, some with a band.
func packetLines(data []byte, add func(name, text []byte)) {
	for len(data) >= 4 {
		size, ok := parse(data, 4, 16)
		switch {
		case !ok, size > len(data), size == 3:
			return
		case size < 4: // ends a list
			data = data[4:]
			continue
		}
		line := data[4:size]
		if len(line) > 0 && line[0] >= 1 && line[0] <= 3 {
			add(line[:1], line[1:])
		} else {
			add(nil, line)
		}
		data = data[size:]
	}
}

// partBodies are those of a multipart document.
func partBodies(data []byte, add func(name, text []byte)) {
	if !bytes.HasPrefix(data, []byte("--")) {
		return
	}
	boundary, rest, ok := bytes.Cut(data, []byte("\r\n"))
	if !ok || len(boundary) > maxName {
		return
	}
	for part := range bytes.SplitSeq(rest, slices.Concat([]byte("\r\n"), boundary)) {
		if _, body, ok := bytes.Cut(part, []byte("\r\n\r\n")); ok {
			add(nil, body)
		}
	}
}

const (
	maxNested = 8
	grpcHead  = 5
)

// protoStrings are those of a protobuf message, or of messages as gRPC sends them.
func protoStrings(data []byte, add func(name, text []byte)) {
	if start := data[:min(len(data), minCut)]; textLen(start) == len(start) {
		return
	}
	framed := false
	for len(data) > grpcHead && data[0] == 0 {
		size := binary.BigEndian.Uint32(data[1:])
		if uint64(size) > uint64(len(data)-grpcHead) {
			break
		}
		framed = true
		protoFields(data[grpcHead:grpcHead+size], maxNested, add)
		data = data[grpcHead+size:]
	}
	if !framed {
		protoFields(data, maxNested, add)
	}
}

// protoFields adds the strings of a message as far as it is one, and reports whether all
// of it is.
func protoFields(data []byte, depth int, add func(name, text []byte)) bool {
	for len(data) > 0 {
		tag, n := binary.Uvarint(data)
		if n <= 0 || tag>>3 == 0 {
			return false
		}
		data = data[n:]
		size := uint64(0)
		switch tag & 7 {
		case 0:
			_, n = binary.Uvarint(data)
		case 1:
			n, size = 0, 8
		case 2:
			size, n = binary.Uvarint(data)
		case 5:
			n, size = 0, 4
		default:
			return false
		}
		if n < 0 || n == 0 && size == 0 || size > uint64(len(data)-n) {
			return false
		}
		if text := data[n : n+int(size)]; tag&7 == 2 && (depth == 0 || !isMessage(text, depth-1) || !protoFields(text, depth-1, add)) {
			add(binary.AppendUvarint(nil, tag), text)
		}
		data = data[n+int(size):]
	}
	return true
}

// isMessage reports whether all of data can be one. Text can, too, in odd cases.
func isMessage(data []byte, depth int) bool {
	return len(data) > 1 && textLen(data) < len(data) && protoFields(data, depth, func(_, _ []byte) {})
}
