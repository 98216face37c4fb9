package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// request is what the upstream is asked: GET, or POST where there is something to send.
type request struct {
	path string
	send int // bytes
}

// until is at which point of an answer its time is taken.
type until int

const (
	whole until = iota
	firstByte
)

// warmUp requests of each connection do not count.
const warmUp = 20

// ask asks count times on one connection, one after the other.
func (s *side) ask(ctx context.Context, r request, count int, end until) ([]time.Duration, error) {
	client := s.client(1)
	defer client.CloseIdleConnections()
	var times []time.Duration
	for range warmUp + count {
		took, err := s.once(ctx, client, r, end)
		if err != nil {
			return nil, err
		}
		times = append(times, took)
	}
	return times[warmUp:], nil
}

// together asks count times on all connections at once. It returns how long that took,
// and how much processor time the process in between used.
func (s *side) together(ctx context.Context, r request, count int) (used spent, took time.Duration, err error) {
	client := s.client(connections)
	defer client.CloseIdleConnections()
	if err := s.crowd(ctx, client, request{path: "/short"}, warmUp*connections); err != nil {
		return spent{}, 0, err
	}
	before, err := s.spent()
	if err != nil {
		return spent{}, 0, err
	}
	began := time.Now()
	if err := s.crowd(ctx, client, r, count); err != nil {
		return spent{}, 0, err
	}
	took = time.Since(began)
	after, err := s.spent()
	return spent{after.between - before.between, after.ends - before.ends}, took, err
}

// spent is processor time: of what is between the ends, and of the ends, ourselves and the
// upstream.
type spent struct{ between, ends time.Duration }

func (s *side) spent() (spent, error) {
	between, err := s.process.cpu()
	if err != nil {
		return spent{}, err
	}
	upstream, err := s.upstream.cpu()
	if err != nil {
		return spent{}, err
	}
	var own unix.Rusage
	err = unix.Getrusage(unix.RUSAGE_SELF, &own)
	return spent{between, upstream + time.Duration(own.Utime.Nano()+own.Stime.Nano())}, err
}

// crowd asks count times, from as many goroutines as there are connections.
func (s *side) crowd(ctx context.Context, client *http.Client, r request, count int) error {
	var left atomic.Int64
	left.Store(int64(count))
	failed := make([]error, connections)
	var asking sync.WaitGroup
	for i := range connections {
		asking.Go(func() {
			for left.Add(-1) >= 0 && failed[i] == nil {
				_, failed[i] = s.once(ctx, client, r, whole)
			}
		})
	}
	asking.Wait()
	return errors.Join(failed...)
}

// once asks and reads the answer to its end.
func (s *side) once(ctx context.Context, client *http.Client, r request, end until) (time.Duration, error) {
	method, body := http.MethodGet, io.Reader(http.NoBody)
	if r.send > 0 {
		method, body = http.MethodPost, &text{left: r.send}
	}
	asked, err := http.NewRequestWithContext(ctx, method, s.base+r.path, body)
	if err != nil {
		return 0, err
	}
	if r.send > 0 {
		asked.ContentLength = int64(r.send)
	}
	began := time.Now()
	response, err := client.Do(asked)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	_, err = io.ReadFull(response.Body, make([]byte, 1))
	first := time.Since(began)
	if err == nil {
		_, err = io.Copy(io.Discard, response.Body)
	}
	if response.StatusCode != http.StatusOK {
		err = errors.Join(err, fmt.Errorf("got %s", response.Status))
	}
	if end == firstByte {
		return first, err
	}
	return time.Since(began), err
}

// text is a body of words that are no secret.
type text struct{ left int }

var words = bytes.Repeat([]byte("words that a model is asked about; "), 1<<10)

func (t *text) Read(p []byte) (int, error) {
	if t.left == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), t.left)], words)
	t.left -= n
	return n, nil
}
