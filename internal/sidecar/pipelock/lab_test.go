package pipelock_test

import (
	"testing"
	"time"

	client "github.com/bot-bottle/bot-bottle/internal/pipelock"
	"github.com/bot-bottle/bot-bottle/internal/sidecar/pipelock/pipelocktest"
)

type lab struct{ *pipelocktest.Lab }

func newLab(t *testing.T, grace time.Duration, program func(testing.TB) string) lab {
	t.Helper()
	return lab{pipelocktest.Start(t, program(t), grace)}
}

func (l lab) scanner(t *testing.T, hosts ...string) *client.Scanner {
	t.Helper()
	return l.scannerOf(t, client.Options{Dir: l.Dir, Hosts: hosts})
}

func (l lab) scannerOf(t *testing.T, o client.Options) *client.Scanner {
	t.Helper()
	s := client.New(o)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}
