package state

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// Requests reads out of a bottle's audit log what its agent asked for and what became of
// it, in the order in which it was asked. What is not in the log has not happened, but for the
// end of something (KeepDecision).
func (s Store) Requests(identity string) (_ []requests.Request, err error) {
	log, err := s.AuditLog(identity)
	if err != nil {
		return nil, fmt.Errorf("cannot read the requests of %s: %w", identity, err)
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	var order []string
	last := map[string]requests.Request{}
	arrived := map[string]bool{} // approved pushes
	var uses audit.Uses
	for lines := bufio.NewReader(log); ; {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break // a line without an end was cut short by a crash
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the requests of %s: %w", identity, err)
		}
		var e audit.Event
		if json.Unmarshal(line, &e) != nil {
			continue // logs --verify tells of it
		}
		uses.Hear(e)
		arrived[e.Arrived()] = true
		var r requests.Request
		if e.Snapshot == nil || json.Unmarshal(e.Snapshot, &r) != nil {
			continue
		}
		if _, known := last[r.ID]; !known {
			order = append(order, r.ID)
		}
		last[r.ID] = r
	}
	if err := s.overrule(identity, last); err != nil {
		return nil, fmt.Errorf("cannot read the requests of %s: %w", identity, err)
	}
	uses.Lost()
	used := uses.Take()
	all := make([]requests.Request, 0, len(order))
	for _, id := range order {
		r := last[id]
		if r.Grant != nil {
			r.Grant.Used = max(r.Grant.Used, used[id])
		}
		if arrived[id] && r.OnItsWay() {
			r.Decided.Result = requests.Forwarded
		}
		all = append(all, r)
	}
	return all, nil
}
