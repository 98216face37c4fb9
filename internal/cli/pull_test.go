package cli

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/provision"
)

// Attack H1: names of branches, people, commits and files drive the terminal on which a pull
// is shown: titles, clipboards, cursors, questions that answer themselves, text from right
// to left, lines that are not the program's.
func TestAttackH1_WhatAPullShowsIsText(t *testing.T) {
	for _, control := range []string{"\x1b]52;c;eA==\x07", "\x1b]0;owned\x07", "\x1bP+q\x1b\\", "\x1b[6n", "\x1bc", "\u009b31m", "\x9b31m", "\u202e", "\u2066", "\r", "\x00", "\x7f", "\x08\x08", "\nrefs/heads/main  (new)"} {
		var out bytes.Buffer
		p := provision.Pulled{
			Ref: "refs/bottles/x/" + control, New: strings.Repeat("1", 40), Stat: []string{" a" + control + " | 1 +"},
			Commits: []provision.Written{{ID: strings.Repeat("1", 40), Author: "A" + control, Subject: "s" + control}},
		}
		if err := printPulled(&out, 0, p); err != nil {
			t.Fatal(err)
		}
		if strings.Count(out.String(), "\n") != 3 || strings.ContainsAny(out.String(), "\x1b\x07\r\x00\x7f\x08\u009b\u202e\u2066") || strings.Contains(out.String(), "\x9b31m") {
			t.Errorf("%q is shown as %q", control, out.String())
		}
	}
}

// What git says of a failed pull is a line without an end of its own.
func TestWhatGitSaysOfAPullIsALine(t *testing.T) {
	for said, want := range map[string]string{
		"fatal: invalid gitfile format: /workspace/x\n":          "fatal: invalid gitfile format: /workspace/x",
		"fatal: bad\r\n\nPlease make sure you have the rights\n": "fatal: bad",
		"fatal: \x1b[31mx\n": "fatal: ·[31mx",
	} {
		l := &lastWords{}
		_, _ = l.Write([]byte(said))
		if got := l.text(); got != want {
			t.Errorf("%q: got %q, want %q", said, got, want)
		}
	}
}

// How far a pull is comes now and then: not when it is quick, and not all the time.
func TestProgressComesNowAndThen(t *testing.T) {
	at := time.Now()
	var told []string
	say := nowAndThen(func(s string) { told = append(told, s) }, func() time.Time { return at })
	for i := range 100 { // a tenth of a second each
		say(fmt.Sprint(i))
		at = at.Add(100 * time.Millisecond)
	}
	if want := []string{"30", "60", "90"}; !slices.Equal(told, want) {
		t.Errorf("got %v, want %v", told, want)
	}
}

// A repository is named by its path below the workspace, or by that in the bottle.
func TestARepositoryIsNamedEitherWay(t *testing.T) {
	for dir, want := range map[string]string{".": ".", "widget": "widget", "/workspace": ".", "/workspace/": "./", "/workspace/widget": "./widget", "/workspaces": "/workspaces", "": "./", "-x": "./-x", "/etc": "/etc"} {
		if got := belowWorkspace(dir); got != want {
			t.Errorf("%s: got %s, want %s", dir, got, want)
		}
	}
}

// Attack E6: a bottle from which the operator pulls sends without end, or says much that is not
// for a terminal.
func TestAttackE6_ABottleThatSendsMuch(t *testing.T) {
	var out bytes.Buffer
	w := &atMost{&out, 10}
	if _, err := w.Write([]byte("0123456789")); err != nil {
		t.Errorf("what is allowed: %v", err)
	}
	if _, err := w.Write([]byte("x")); err == nil || out.Len() > 10 {
		t.Errorf("it may send %d bytes: %v", out.Len(), err)
	}
	l := &lastWords{}
	for range 1000 {
		if n, err := l.Write([]byte("\x1b]0;owned\x07")); n != 10 || err != nil {
			t.Fatal(n, err)
		}
	}
	if text := l.text(); len(l.said) > 4096 || strings.ContainsAny(text, "\x1b\x07") {
		t.Errorf("it keeps %d bytes: %.40q", len(l.said), text)
	}
}
