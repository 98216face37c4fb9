package gitgate

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// What is accepted of a tree is all of it, in the order in which it is.
func FuzzParseTree(f *testing.F) {
	f.Add(treeOf(leaf{"100644", "a", strings.Repeat("1", 40)}, leaf{"40000", "b", strings.Repeat("2", 40)}))
	f.Add([]byte("100644 a\x00short"))
	f.Add([]byte("999999999999 a\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var again bytes.Buffer
		err := parseTree(data, 20, func(e entry) error {
			again.WriteString(string(e.mode) + " " + string(e.name) + "\x00" + string(e.id))
			return nil
		})
		if err == nil && !bytes.Equal(again.Bytes(), data) {
			t.Errorf("%q became %q", data, again.Bytes())
		}
		s := newShape()
		if s.add(object{id: strings.Repeat("1", 40)}, strings.Repeat("1", 20), data) == nil {
			_ = s.bounded()
		}
	})
}

func FuzzParseCommit(f *testing.F) {
	f.Add(commitOf(strings.Repeat("1", 40), "message\n", "", strings.Repeat("2", 40)))
	f.Add([]byte("tree x\nauthor <<>>\ncommitter >\n\n\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseCommit("id", data)
		if err == nil && strings.Contains(c.subject, "\n") {
			t.Errorf("its subject is %q", c.subject)
		}
		if text := printable(c.subject + c.author.String()); strings.ContainsAny(text, "\x1b\x07\n\x7f") {
			t.Errorf("%q is not printable", text)
		}
	})
}

func FuzzParseRefs(f *testing.F) {
	f.Add([]byte("ref: refs/heads/main\tHEAD\n" + strings.Repeat("1", 40) + "\trefs/heads/main\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for name := range parseRefs(data).IDs {
			if !strings.HasPrefix(name, "refs/heads/") && !strings.HasPrefix(name, "refs/tags/") {
				t.Errorf("got %q", name)
			}
		}
	})
}

func FuzzParseChanges(f *testing.F) {
	f.Add([]byte(strings.Repeat("1", 40) + "\n\x00:100644 100644 a b M\x00path\x00"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		_ = parseChanges(bufio.NewReader(bytes.NewReader(data)), func(change) error { return nil })
	})
}

// What is let through is what came, and no line of it is too long or a certificate.
func FuzzCheckCommands(f *testing.F) {
	f.Add([]byte(updates(wantsAll, command(noID, noID, "refs/heads/x")) + "PACK"))
	f.Add([]byte("0003"))
	f.Add([]byte("ffff"))
	f.Add([]byte(pktLine("push-cert\x00") + "0000"))
	f.Fuzz(func(t *testing.T, data []byte) {
		body, err := checkCommands(bytes.NewReader(data))
		if err != nil {
			return
		}
		if again, err := io.ReadAll(body); err != nil || !bytes.Equal(again, data) {
			t.Errorf("%q became %q, %v", data, again, err)
		}
	})
}

// The hook says yes only if the gate does.
func FuzzHookAnswer(f *testing.F) {
	f.Add([]byte(`{"say":"x"}` + "\n" + `{"done":true,"ok":true}`))
	f.Add([]byte(`{"ok":true}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var told bytes.Buffer
		err := hear(bytes.NewReader(data), &told)
		if err == nil && !bytes.Contains(bytes.ToLower(data), []byte("ok")) {
			t.Errorf("%q was taken for a yes", data)
		}
	})
}

func FuzzCheckUpdate(f *testing.F) {
	f.Add("refs/heads/agent/x", "refs/heads/agent/**")
	f.Add("refs/heads/../main", "refs/**")
	f.Fuzz(func(t *testing.T, ref, glob string) {
		err := policy.Push{Refs: []string{glob}}.CheckUpdate(policy.RefUpdate{Ref: ref, New: noID}, policy.Refs{})
		if err == nil && (strings.Contains(ref, "..") || strings.ContainsAny(ref, "\x00\n :*?[\\^~") || !strings.HasPrefix(ref, "refs/")) {
			t.Errorf("%q passed", ref)
		}
	})
}
