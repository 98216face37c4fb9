package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/pipelock"
	runner "github.com/bot-bottle/bot-bottle/internal/sidecar/pipelock"
	"github.com/bot-bottle/bot-bottle/test/lab"
)

// How much is put to pipelock.
const (
	talkSize  = 100_000
	turnSize  = 2_000
	talkTurns = 60
)

// measurePipelock measures what asking pipelock adds to a turn of a conversation: its URL, its
// head and its body, of which all but the last 2 KB was seen before. pipelock is the program
// that BOT_BOTTLE_PIPELOCK names, else the stand-in, whose few rules cost nothing: what is measured then is
// our own part of it.
func measurePipelock(ctx context.Context, _ *lab.Lab) (_ []figure, err error) {
	dir, err := os.MkdirTemp("", "pl")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	program := cmp.Or(os.Getenv("BOT_BOTTLE_PIPELOCK"), filepath.Join(dir, "pipelock"))
	if os.Getenv("BOT_BOTTLE_PIPELOCK") == "" {
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "./test/pipelock").CombinedOutput(); err != nil {
			return nil, fmt.Errorf("cannot build the stand-in: %w\n%s", err, out)
		}
	}
	settings, err := freeSettings()
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- runner.Run(ctx, runner.Options{Dir: dir, Program: program, ConfigFile: filepath.Join(dir, "pipelock.yaml"), Settings: settings, Grace: time.Minute})
	}()
	defer func() {
		stop()
		err = errors.Join(err, <-ended)
	}()
	started := time.Now()
	s := pipelock.New(pipelock.Options{Dir: dir, Hosts: []string{"api.anthropic.com"}})
	if err := s.Start(ctx); err != nil {
		return nil, err
	}
	ready := time.Since(started)
	return measureTurns(ctx, s, ready)
}

func freeSettings() (s pipelock.Settings, err error) {
	for _, address := range []*string{&s.Scan, &s.Health, &s.Metrics} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return s, err
		}
		*address = l.Addr().String()
		if err := l.Close(); err != nil {
			return s, err
		}
	}
	return s, nil
}

func measureTurns(ctx context.Context, s *pipelock.Scanner, ready time.Duration) ([]figure, error) {
	source, err := conversation(talkSize + talkTurns*turnSize)
	if err != nil {
		return nil, err
	}
	text := pipelock.Text("application/json", source)
	ask := func(size int) (time.Duration, error) {
		talk, err := talkOf(text[:size])
		if err != nil {
			return 0, err
		}
		begun := time.Now()
		_, err = s.URL(ctx, "https://api.anthropic.com/v1/messages?beta=true")
		if err == nil {
			_, err = s.Head(ctx, strings.ReplaceAll(head, "\n", " "))
		}
		if err == nil {
			_, err = s.Body(ctx, pipelock.Text("application/json", talk), pipelock.DefaultBudget)
		}
		return time.Since(begun), err
	}
	first, err := ask(talkSize)
	if err != nil {
		return nil, err
	}
	var turns []time.Duration
	for turn := 1; turn <= talkTurns; turn++ {
		took, err := ask(talkSize + turn*turnSize)
		if err != nil {
			return nil, err
		}
		turns = append(turns, took)
	}
	again, err := ask(talkSize + talkTurns*turnSize)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	if _, err := s.Answer(ctx, pipelock.AnswerText("text/plain", []byte(text[:pipelock.MaxAnswer]))); err != nil {
		return nil, err
	}
	page := time.Since(begun)
	slices.Sort(turns)
	return []figure{
		atMost("pipelock.turn_ms", ms(turns[len(turns)/2]), "ms", 10),
		report("pipelock.turn_p95_ms", ms(turns[len(turns)*95/100]), "ms"),
		report("pipelock.known_ms", ms(again), "ms"),
		report("pipelock.new_100kb_ms", ms(first), "ms"),
		report("pipelock.answer_64kb_ms", ms(page), "ms"), // beside the stream: nobody waits for it
		report("pipelock.ready_ms", ms(ready), "ms"),
	}, nil
}

// talkOf is a request of so many turns as the text is long.
func talkOf(text string) ([]byte, error) {
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	var talk struct {
		Messages []message `json:"messages"`
	}
	for i := 0; i < len(text); i += turnSize {
		talk.Messages = append(talk.Messages, message{"user", text[i:min(len(text), i+turnSize)]})
	}
	return json.Marshal(talk)
}
