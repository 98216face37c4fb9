// Package report makes one page of what a bottle did: for a colleague, or an auditor.
//
// The page holds all it needs and asks for nothing: no script, no font, no picture, and a
// content policy that forbids them. Whatever is in a log came from a bottle or an upstream
// and is hostile: it gets into the page through html/template alone, as text, bounded. The
// page says whether the log that it was made of is whole, and never hides that it is not.
package report

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/requests"
	"github.com/bot-bottle/bot-bottle/internal/state"
)

// Options of a report.
type Options struct {
	Prices  Prices
	Now     time.Time
	Running bool   // it was seen to run
	Program string // its version, for the foot of the page
}

// Bounds of what a page holds: a log may be of any length.
const (
	maxEntries = 1500
	maxRows    = 200
	maxKeys    = 10000 // of what is counted by host or model
)

// Report is what a log says of a bottle.
type Report struct {
	Options
	Bottle   state.Metadata
	Chain    Chain
	Totals   Totals
	Hosts    []*Host
	Models   []*Model
	Blocked  []*Block
	Gits     []Git
	Requests []requests.Request
	Entries  []Entry
	Left     int64 // events of which the timeline has no room to tell
	series   *series
}

// Chain is what the log's hashes say.
type Chain struct {
	Whole  bool
	Report audit.Report
	Why    string // what is wrong with it
}

// Totals of the whole log.
type Totals struct {
	First, Last                     time.Time
	Events, Requests, Allowed       int64
	Blocked, Findings, Flagged      int64
	BytesOut, BytesIn               int64
	TokensIn, TokensCached          int64
	TokensOut                       int64
	Cost                            float64
	Priced, Unpriced                int64 // answers with a price, and without
	Pushes, PushesRefused, Lookups  int64
	PushesHeld                      int64 // for the operator; once approved, they are among the pushes as well
	Asked, Granted, Refused, Unsure int64 // requests to the operator
}

// Host is where a bottle went.
type Host struct {
	Name              string
	Requests, Blocked int64
	BytesOut, BytesIn int64
	Secrets           []string // names of the credentials that were put on
}

// Model is a language model that answered.
type Model struct {
	Name            string
	Answers         int64
	In, Cached, Out int64
	Cost            float64
	Priced          bool
}

// Block is what was refused, as often as it was.
type Block struct {
	What, Reason string
	Count        int64
	First, Last  time.Time
}

// Git is a push or a fetch.
type Git struct {
	audit.Event
}

// Read makes a report of a log. A log that is not whole makes a report that says so; the
// error is one of reading it.
func Read(log io.Reader, m state.Metadata, o Options) (*Report, error) {
	r := &Report{Options: o, Bottle: m, series: newSeries(o.Now)}
	in, out := io.Pipe()
	verified := make(chan struct{})
	go func() {
		defer close(verified)
		r.verify(in)
	}()
	err := r.count(io.TeeReader(log, out))
	_ = out.CloseWithError(err)
	<-verified
	if err != nil {
		return nil, fmt.Errorf("cannot read the audit log of %s: %w", m.Identity, err)
	}
	r.countRequests()
	return r, nil
}

func (r *Report) verify(log io.Reader) {
	report, err := audit.Verify(log, audit.Expect{Bottle: r.Bottle.Identity, Head: r.Bottle.Audit, Ended: r.Bottle.EndedAt != nil})
	r.Chain = Chain{Whole: err == nil, Report: report}
	if err != nil {
		r.Chain.Why = err.Error()
	}
	_, _ = io.Copy(io.Discard, log)
}

// count reads every event, also behind one that is out of its place.
func (r *Report) count(log io.Reader) error {
	c := newCounter(r)
	defer c.finish()
	for reader := audit.NewReader(log, r.Bottle.Identity); ; {
		e, line, err := reader.Next()
		if line != nil {
			c.add(e)
			continue
		}
		var broken *audit.BrokenError
		if err == nil || errors.Is(err, io.EOF) || errors.As(err, &broken) {
			_, err = io.Copy(io.Discard, log)
			return err
		}
		return err
	}
}

func (r *Report) countRequests() {
	for _, q := range r.Requests {
		r.Totals.Asked++
		switch q.State {
		case requests.Approved, requests.Answered:
			r.Totals.Granted++
		case requests.Rejected:
			r.Totals.Refused++
		default:
			r.Totals.Unsure++
		}
	}
}

// Duration is from the first event to the last.
func (t Totals) Duration() time.Duration { return t.Last.Sub(t.First) }

// Share is a part of the largest, in percent, for bars.
func share(n int64, all []int64) int64 {
	if most := slices.Max(append(all, 1)); n > 0 {
		return max(1, 100*n/most)
	}
	return 0
}
