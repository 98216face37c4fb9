package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// keepLines is how much of a failed build's output is shown.
const keepLines = 8

var (
	stepLine  = regexp.MustCompile(`^Step (\d+/\d+) : (.*)`)
	imageLine = regexp.MustCompile(`^---> ([0-9a-f]{12,64})$`)
	colour    = regexp.MustCompile(`\x1b\[[0-9;]*m`) // the engine paints what came from standard error
)

// progress follows a build's output.
type progress struct {
	say    func(string)
	step   string   // being carried out
	recent []string // its last lines
	last   string   // image that the last step made
	stages []string // images of the stages before this one
	begun  string   // a line whose end has not come
}

// maxLine bounds a line that does not end.
const maxLine = 4 << 10

// watch reads a build's output to its end. It returns the images of the stages that
// were built on the way to the last one, and that one if it does not fit a bottle.
func watch(body io.Reader, ref string, say func(string)) (stages []string, err error) {
	p := &progress{say: say}
	decoder := json.NewDecoder(body)
	for {
		var message struct{ Stream, Error string }
		if err := decoder.Decode(&message); errors.Is(err, io.EOF) {
			return p.stages, nil
		} else if err != nil {
			return p.stages, fmt.Errorf("cannot build image %s: %w", ref, err)
		}
		if message.Error != "" {
			p.read(p.begun)
			if strings.Contains(p.step, contractMark) && p.last != "" {
				p.stages = append(p.stages, p.last) // it is whole, and nobody may run it
			}
			return p.stages, &BuildError{Ref: ref, Step: p.step, Reason: reason(p.step, message.Error), Output: p.recent}
		}
		p.take(message.Stream)
	}
}

// take reads lines: a program that prints one bit by bit makes a message of each.
func (p *progress) take(text string) {
	lines := strings.Split(p.begun+colour.ReplaceAllString(text, ""), "\n")
	for _, line := range lines[:len(lines)-1] {
		p.read(line)
	}
	p.begun = lines[len(lines)-1]
	if len(p.begun) > maxLine || stepLine.MatchString(p.begun) {
		p.read(p.begun)
		p.begun = ""
	}
}

func (p *progress) read(line string) {
	line = strings.TrimSpace(line)
	if line == "" {
		return
	}
	if match := stepLine.FindStringSubmatch(line); match != nil {
		p.begin(match[1], match[2])
		return
	}
	if match := imageLine.FindStringSubmatch(line); match != nil {
		p.last = match[1]
		return
	}
	if strings.HasPrefix(line, "---> ") || strings.HasPrefix(line, "Removing intermediate container ") {
		return // Running in, Using cache
	}
	p.recent = append(p.recent, short(line))
	p.recent = p.recent[max(0, len(p.recent)-keepLines):]
}

func (p *progress) begin(number, step string) {
	if word(step) == "FROM" && p.last != "" {
		p.stages = append(p.stages, p.last)
	}
	p.step, p.recent = step, nil
	if slices.Contains([]string{"FROM", "RUN", "COPY", "ADD"}, word(step)) { // the others take no time
		p.say("  " + number + "  " + shown(step))
	}
}

// shown is a step as people read it.
func shown(step string) string {
	if strings.Contains(step, contractMark) {
		return "check that it fits a bottle"
	}
	return short(step)
}

func word(step string) string {
	first, _, _ := strings.Cut(step, " ")
	return strings.ToUpper(first)
}

// short fits a line on a terminal.
func short(s string) string { return cut(s, 100) }

// cut makes a line of at most so many characters.
func cut(s string, most int) string {
	s = strings.Join(strings.Fields(s), " ")
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return s
}
