package egress

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"unicode/utf8"
)

// webSocket is an upgraded connection to an upstream, with every frame looked into: what
// the bottle sends is searched for secrets before it leaves, ours are masked in what
// comes back, and what is no frame ends both ways (ATTACKS B8).
type webSocket struct {
	upstream io.ReadWriteCloser
	outwards *frames
	inwards  *frames
	now      func() *echoes // to be masked, by now
	echoes   *echoes        // the same, when something came last

	sent, came atomic.Int64        // bytes that went out, and that came in
	up, down   func(n int64) error // count them, or say that a limit is reached

	messages, controls func(p []byte) error // search what goes out

	second *holding // keeps what goes out until pipelock has seen it; nil: it is not asked

	message []byte // of the message coming in, not yet handed on
	raw     []byte // the same as it came, where stars could hide what begins below them
	heads   []placed
	base    int // how much of the message was handed on already
	ready   []byte

	mu      sync.Mutex
	refused error // why the bottle was cut off
	told    bool
}

// placed is bytes that go between two of a message's.
type placed struct {
	at   int // in the message
	data []byte
}

func newWebSocket(upstream io.ReadWriteCloser, messages, controls func([]byte) error, now func() *echoes) *webSocket {
	s := &webSocket{upstream: upstream, messages: messages, controls: controls, now: now, echoes: now()}
	free := func(int64) error { return nil }
	s.up, s.down = free, free
	nothing := func(*frame) error { return nil }
	s.outwards = &frames{fromClient: true, begin: nothing, data: s.search, end: s.sentFrame}
	s.inwards = &frames{begin: s.place, data: s.keep, end: s.release}
	return s
}

// Write takes what the bottle sends. Nothing of a piece goes out before all of it was
// searched. A refusal is told by a close frame, not by an error, which would end the
// connection before that has gone.
func (s *webSocket) Write(p []byte) (int, error) {
	s.mu.Lock()
	refused := s.refused
	s.mu.Unlock()
	if refused != nil {
		return len(p), nil
	}
	if err := s.outwards.Write(p); err != nil {
		s.refuse(err)
		return len(p), nil
	}
	if err := s.up(int64(len(p))); err != nil {
		s.refuse(err)
		return len(p), nil
	}
	if s.second == nil {
		n, err := s.upstream.Write(p)
		s.sent.Add(int64(n))
		return n, err
	}
	ready, err := s.second.add(p, s.outwards.between())
	if err != nil {
		s.refuse(err)
		return len(p), nil
	}
	n, err := s.upstream.Write(ready)
	s.sent.Add(int64(n))
	if err == nil {
		n = len(p)
	}
	return min(n, len(p)), err
}

// sentFrame hears of the end of a frame that goes out.
func (s *webSocket) sentFrame(f *frame) error {
	if s.second == nil {
		return nil
	}
	return s.second.ended(f)
}

// search looks through a message with what came before it, in the same or in another: a
// value may be cut across messages. Control frames come between the parts of one.
func (s *webSocket) search(f *frame, plain []byte) error {
	if s.second != nil {
		if err := s.second.collect(f, plain); err != nil {
			return err
		}
	}
	if f.control() {
		return s.controls(plain)
	}
	return s.messages(plain)
}

func (s *webSocket) refuse(why error) {
	s.mu.Lock()
	s.refused = why
	s.mu.Unlock()
	_ = s.upstream.Close()
}

// why says why the connection was ended, nil if it was not.
func (s *webSocket) why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// Read hands on what the upstream sends.
func (s *webSocket) Read(p []byte) (int, error) {
	buffer := make([]byte, max(len(p), 512))
	for len(s.ready) == 0 {
		n, err := s.upstream.Read(buffer)
		s.came.Add(int64(n))
		broken := s.down(int64(n))
		if broken == nil {
			broken = s.inwards.Write(buffer[:n])
		}
		if broken != nil {
			s.refuse(broken)
			err = broken
		}
		if err != nil && !s.farewell() && len(s.ready) == 0 {
			return 0, err
		}
	}
	n := copy(p, s.ready)
	s.ready = s.ready[n:]
	return n, nil
}

// farewell tells a bottle that was cut off why, with a close frame (RFC 6455 §7.4.1:
// 1008, policy violation), if what it got so far ends with a frame.
func (s *webSocket) farewell() bool {
	why := s.why()
	whole := s.inwards.now == nil && len(s.message) == 0 && len(s.heads) == 0
	if why == nil || s.told || !whole || s.inwards.finished {
		return false
	}
	s.told = true
	text := why.Error()
	for len(text) > 123 {
		_, size := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-size]
	}
	s.ready = append(s.ready, 0x80|opClose, byte(2+len(text)), 1008>>8, 1008&0xff)
	s.ready = append(s.ready, text...)
	return true
}

// Close implements io.Closer.
func (s *webSocket) Close() error { return s.upstream.Close() }

// place remembers where in the message a frame's head goes.
func (s *webSocket) place(f *frame) error {
	return s.put(f.head)
}

// maxHeads bounds the frames that wait behind a held-back beginning of a secret.
const maxHeads = 256

// put places bytes behind what there is of the message.
func (s *webSocket) put(data []byte) error {
	if len(s.heads) >= maxHeads {
		return errFrame
	}
	s.heads = append(s.heads, placed{s.base + len(s.message), data})
	s.handOn(s.held())
	return nil
}

// keep takes payload: a message's goes through the mask, a control frame's by itself.
func (s *webSocket) keep(f *frame, plain []byte) error {
	s.echoes = s.now()
	if f.control() {
		data := slices.Clone(plain)
		s.echoes.mask(data)
		return s.put(data)
	}
	if s.echoes != nil && s.echoes.pieces {
		if len(s.raw) < len(s.message) { // it matters since then
			s.raw = slices.Clone(s.message)
		}
		s.raw = append(s.raw, plain...)
	}
	s.message = append(s.message, plain...)
	s.echoes.maskAs(s.message, s.unmasked())
	s.handOn(s.held())
	return nil
}

// release hands on all of a message that has ended.
func (s *webSocket) release(f *frame) error {
	if !f.control() && f.final {
		s.handOn(0)
	}
	return nil
}

// held is how much of the message's end may be the beginning of a secret. It waits for
// the message to go on or to end.
func (s *webSocket) held() int { return s.echoes.begun(s.unmasked(), 1) }

// unmasked is the message as it came, where that matters.
func (s *webSocket) unmasked() []byte {
	if s.echoes != nil && s.echoes.pieces {
		return s.raw
	}
	return s.message
}

// handOn makes all but the last held bytes of the message ready, each frame's head in
// its place.
func (s *webSocket) handOn(held int) {
	upTo := s.base + len(s.message) - held
	for len(s.heads) > 0 && s.heads[0].at <= upTo {
		s.pass(s.heads[0].at)
		s.ready = append(s.ready, s.heads[0].data...)
		s.heads = s.heads[1:]
	}
	s.pass(upTo)
}

// pass makes the message ready up to a place.
func (s *webSocket) pass(upTo int) {
	if n := upTo - s.base; n > 0 {
		s.ready = append(s.ready, s.message[:n]...)
		s.message = slices.Delete(s.message, 0, n)
		s.raw = slices.Delete(s.raw, 0, min(n, len(s.raw)))
		s.base = upTo
	}
}

// upgraded puts a webSocket in the place of an upgraded connection. Of the answer's status goes
// the number alone: its words would be handed on as they are.
func (x *exchange) upgraded(answer *http.Response, now func() *echoes) error {
	answer.Status = ""
	both, ok := answer.Body.(io.ReadWriteCloser)
	if !ok {
		return errors.New("the upgraded connection cannot be written")
	}
	var looks [2]func([]byte) error // at messages, and at what controls the connection
	for i := range looks {
		look, t, err := x.search.pieces(answer.Request.Context(), inMessage, x.search.bodyInput(""))
		if err != nil {
			return err
		}
		context.AfterFunc(answer.Request.Context(), t.Close)
		looks[i] = look
	}
	x.socket = newWebSocket(both, looks[0], looks[1], now)
	x.socket.second = x.holding(answer.Request.Context())
	answer.Body = x.socket
	return nil
}
