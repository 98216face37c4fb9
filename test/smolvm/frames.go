//go:build linux

package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// order is what a client asks of the agent: one line of JSON, which frames follow.
type order struct {
	Op          string // ping, exec, cp-in, cp-out
	Argv, Env   []string
	Dir         string
	Interactive bool
	TTY         bool
	Rows, Cols  uint16
	Timeout     time.Duration
	Path        string
	Mode        uint32
	UID, GID    int
	Hostname    string
}

// Kinds of frames.
const (
	frameIn, frameInEnd, frameSize        = 'i', 'e', 's'
	frameOut, frameErr, frameExit, failed = 'o', 'r', 'x', 'f'
)

const maxFrame = 1 << 20

// frames writes frames, also from several goroutines.
type frames struct {
	mu sync.Mutex
	w  io.Writer
}

func (f *frames) write(kind byte, data []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	head := make([]byte, 5)
	head[0] = kind
	binary.BigEndian.PutUint32(head[1:], uint32(len(data)))
	_, err := f.w.Write(append(head, data...))
	return err
}

func (f *frames) copy(kind byte, r io.Reader) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := r.Read(buffer)
		if n > 0 && f.write(kind, buffer[:n]) != nil {
			return
		}
		if err != nil {
			return
		}
	}
}

// result ends a command.
type result struct {
	Code    int
	Timeout time.Duration
	Error   string
}

func (f *frames) end(r result) {
	data, _ := json.Marshal(r)
	_ = f.write(frameExit, data)
}

func (f *frames) exit(code int)           { f.end(result{Code: code}) }
func (f *frames) timeout(d time.Duration) { f.end(result{Code: 124, Timeout: d}) }
func (f *frames) fail(err error)          { f.end(result{Code: 1, Error: err.Error()}) }

func readFrame(r *bufio.Reader) (byte, []byte, error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, nil, errors.New("frame too large")
	}
	data := make([]byte, n)
	_, err := io.ReadFull(r, data)
	return head[0], data, err
}

func (r result) err() error {
	if r.Error != "" {
		return fmt.Errorf("agent operation failed: %s", r.Error)
	}
	return nil
}
