// Package inside holds the attacks that are tried from inside a bottle, by a hostile agent
// with root or without. Each is a small unit with a claim in a sentence: what must not work.
// bot-bottle prove runs them on a user's own bottle, and the project's tests on every backend.
//
// It must never do harm where a wall is missing: it connects only to the stand-ins that it is
// told of and to addresses that nobody has (RFC 5737, RFC 3849), reads only to look for the
// canary, writes only below /tmp and its own clone, and never connects a vsock.
package inside

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// Arena is what the attacks are told about where they are.
type Arena struct {
	Only []string `json:"only,omitempty"` // attacks or groups; none: all
	User string   `json:"user"`           // as whom they run, for the record

	Proxy    string `json:"proxy"`              // host:port where the guest listens for HTTP proxying (DESIGN §2)
	Allowed  string `json:"allowed,omitempty"`  // a host that may be asked GET and POST below /open, and gets a credential
	Other    string `json:"other,omitempty"`    // another allowed host, that gets none
	Wild     string `json:"wild,omitempty"`     // "*." and this are allowed
	Limited  string `json:"limited,omitempty"`  // a host with a limit of Limit requests
	Limit    int    `json:"limit,omitempty"`    //
	Refused  string `json:"refused,omitempty"`  // a host that no route names, and that exists
	Upstream string `json:"upstream,omitempty"` // host:port where all of these really are

	HostTCP []string `json:"host_tcp,omitempty"` // host:port of a service on the host, at each of its addresses
	HostUDP []string `json:"host_udp,omitempty"` // the same for datagrams

	Placeholder string `json:"placeholder,omitempty"` // name of the variable that holds the credential's placeholder
	Canary      Canary `json:"canary"`                // the real credential
	Repository  string `json:"repository,omitempty"`  // URL of a declared repository, with a branch main
	Undeclared  string `json:"undeclared,omitempty"`  // one that is not
	Supervise   bool   `json:"supervise,omitempty"`
}

// Canary tells a secret without being one: how it begins, how long it is, and its SHA-256.
type Canary struct {
	Prefix string `json:"prefix,omitempty"`
	Length int    `json:"length,omitempty"`
	SHA256 string `json:"sha256,omitempty"` // hexadecimal
}

// Attack is one unit.
type Attack struct {
	ID    string // of shared attack lists: a group's letter and a number
	Name  string
	Claim string // what holds, in a sentence
	Needs func(*Arena) bool
	Try   func(context.Context, *Arena) []Attempt
}

// Attempt is one thing that was tried.
type Attempt struct {
	What     string `json:"what"`
	Happened string `json:"happened"` // in the words of the kernel, the proxy or the upstream
	Held     bool   `json:"held"`
}

// Outcome is what became of an attack.
type Outcome struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Claim    string    `json:"claim"`
	User     string    `json:"user"`
	Attempts []Attempt `json:"attempts"`
	Missing  string    `json:"missing,omitempty"` // why it was not tried
}

// Held reports whether something was tried, and nothing got through.
func (o Outcome) Held() bool {
	return len(o.Attempts) > 0 && !slices.ContainsFunc(o.Attempts, func(a Attempt) bool { return !a.Held })
}

// All are the attacks, in order of their number.
func All() []Attack {
	return slices.Concat(controls(), walls(), network(), parsers(), credentials(), repositories(), operator(), allowed(), words())
}

// Wanted are those of All that only names.
func Wanted(only []string) []Attack {
	return slices.DeleteFunc(All(), func(a Attack) bool { return !Names(only, a.ID) })
}

// Names reports whether only names an attack, by its number or its group. None names all.
func Names(only []string, id string) bool {
	return len(only) == 0 || slices.ContainsFunc(only, func(o string) bool { return strings.EqualFold(o, id) || strings.EqualFold(o, id[:1]) })
}

// patience is for one attack: what hangs that long did not get through.
const patience = 40 * time.Second

// atOnce bounds how many attacks run side by side.
const atOnce = 6

// Run reads an Arena, tries what it wants, and prints Outcomes, one JSON object a line, in
// order.
func Run(ctx context.Context, in io.Reader, out io.Writer) error {
	var arena Arena
	if err := json.NewDecoder(in).Decode(&arena); err != nil {
		return fmt.Errorf("cannot read the arena: %w", err)
	}
	attacks := Wanted(arena.Only)
	outcomes := make([]Outcome, len(attacks))
	slots := make(chan struct{}, atOnce)
	var group sync.WaitGroup
	for i, a := range attacks {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			outcomes[i] = a.run(ctx, &arena)
		})
	}
	group.Wait()
	encoder := json.NewEncoder(out)
	for _, o := range outcomes {
		if err := encoder.Encode(o); err != nil {
			return err
		}
	}
	return nil
}

func (a Attack) run(ctx context.Context, arena *Arena) Outcome {
	o := Outcome{ID: a.ID, Name: a.Name, Claim: a.Claim, User: arena.User}
	if a.Needs != nil && !a.Needs(arena) {
		o.Missing = "this bottle has not what it is about"
		return o
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, attempt := range a.Try(ctx, arena) {
		attempt.Happened = short(attempt.Happened)
		o.Attempts = append(o.Attempts, attempt)
	}
	return o
}

// short is one line of bounded length.
func short(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "·")), " ")
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "…"
	}
	return s
}

// refused is an attempt that must fail.
func refused(what string, err error) Attempt {
	if err == nil {
		return Attempt{what, "it worked", false}
	}
	return Attempt{what, err.Error(), true}
}

// works is an attempt that must succeed: a wall that lets nothing at all through would hold
// against everything.
func works(what string, err error) Attempt {
	if err == nil {
		return Attempt{what, "it works", true}
	}
	return Attempt{what, err.Error(), false}
}

func hasProxy(a *Arena) bool      { return a.Allowed != "" }
func hasRepository(a *Arena) bool { return a.Repository != "" }
func isSupervised(a *Arena) bool  { return a.Supervise }
