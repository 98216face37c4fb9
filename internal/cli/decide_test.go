package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// desked is a backend with one running bottle, whose bundle has a real ledger.
type desked struct {
	*bundled
	ledger  *requests.Ledger
	decided []requests.Decision
	looked  func() // after the operator was shown something, if set
}

func (d *desked) Active(context.Context) ([]bottle.ActiveAgent, error) {
	return []bottle.ActiveAgent{{Slug: identity, Services: []control.Service{control.Supervise}}}, nil
}

func (d *desked) Requests(ctx context.Context, after int) control.Requests {
	if after == 1 {
		<-ctx.Done()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := control.Requests{Revision: 1, Requests: d.ledger.ShowAll(policy.Policy{})}
	for i := range now.Requests {
		now.Requests[i].Bottle = identity
	}
	if looked := d.looked; looked != nil {
		d.looked = nil
		looked()
	}
	return now
}

func (d *desked) Decide(id string, dec requests.Decision) (requests.Shown, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r, err := d.ledger.Decide(time.Now(), id, policy.Policy{}, dec)
	if err != nil {
		return requests.Shown{}, err
	}
	d.decided = append(d.decided, dec)
	return d.ledger.Show(r, policy.Policy{}), nil
}

func (d *desked) Edit(string, string, requests.Change) (requests.Shown, error) {
	return requests.Shown{}, errors.New("not here")
}
func (d *desked) Revoke(string) (requests.Shown, error) {
	return requests.Shown{}, errors.New("not here")
}
func (d *desked) Diff(string) (string, error) { return "", errors.New("not here") }

// desk is an App over a bottle that asks for something.
func desk(t *testing.T, ask requests.Ask) (*App, *desked, string, *bytes.Buffer) {
	t.Helper()
	d := &desked{bundled: &bundled{}, ledger: requests.New("abcdef")}
	d.Desk = d
	r, err := d.ledger.Ask(time.Now(), policy.Policy{}, ask)
	if err != nil {
		t.Fatal(err)
	}
	a, stderr := refreshing(t, d.bundled)
	a.Backends = func(*App) ([]bottle.Backend, error) { return []bottle.Backend{d}, nil }
	return a, d, r.ID, stderr
}

// decide grants or ends what there is, as another operator would.
func (d *desked) decide(t *testing.T, id string, dec requests.Decision) {
	t.Helper()
	r, err := d.ledger.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	dec.Digest = d.ledger.Show(r, policy.Policy{}).Digest
	if _, err := d.ledger.Decide(time.Now(), id, policy.Policy{}, dec); err != nil {
		t.Fatal(err)
	}
}

var (
	askRoute  = requests.Ask{Kind: requests.Egress, Route: &policy.Route{Host: "docs.example", Methods: []string{"GET"}}}
	askSecret = requests.Ask{Kind: requests.Secret, Route: &policy.Route{Host: "docs.example"}, Auth: &policy.Auth{Scheme: policy.Bearer, Secret: "DEPLOY_TOKEN"}}
	askHTTPS  = requests.Ask{Kind: requests.Repo, Git: &requests.Git{Repository: "https://github.com/acme/widget"}}
	askSSH    = requests.Ask{Kind: requests.Repo, Git: &requests.Git{Repository: "ssh://git@github.com/acme/widget"}}
)

// Attack G2: one operator decides while another still looks at it. The second is told so, and
// decides nothing.
func TestAttackG2_AnotherOperatorWasFaster(t *testing.T) {
	for name, first := range map[string]requests.Decision{"approved": {Approve: true}, "rejected": {Reason: "no"}} {
		a, d, id, _ := desk(t, askRoute)
		d.looked = func() { d.decide(t, id, first) }
		err := a.runApprove(t.Context(), id, approval{yes: true})
		if err == nil || !strings.Contains(err.Error(), id+" is "+name+" already") || len(d.decided) != 0 {
			t.Errorf("%s: got %v, and %d decisions", name, err, len(d.decided))
		}
	}
}

// Attack G2: two operators approve at once. One of them does, whichever it is.
func TestAttackG2_TwoApproveAtOnce(t *testing.T) {
	a, d, id, _ := desk(t, askRoute)
	a.Stderr = io.Discard
	var each sync.WaitGroup
	failed := make([]error, 4)
	for i := range failed {
		each.Go(func() {
			failed[i] = a.runApprove(t.Context(), id, approval{yes: true, length: time.Duration(i+1) * time.Hour})
		})
	}
	each.Wait()
	granted := 0
	for _, err := range failed {
		if err == nil {
			granted++
		} else if !strings.Contains(err.Error(), "is approved already") {
			t.Errorf("got %v", err)
		}
	}
	if granted != 1 || len(d.decided) != 1 {
		t.Errorf("%d were told that they granted it, and %d did", granted, len(d.decided))
	}
}

// Attack G4: what is over is not asked about again, and no credential is read for it.
func TestAttackG4_WhatIsOverIsNotApproved(t *testing.T) {
	for name, end := range map[string]func(d *desked, id string){
		"taken back by the agent": func(d *desked, id string) { _, _ = d.ledger.Cancel(time.Now(), id) },
		"expired": func(d *desked, id string) {
			d.decide(t, id, requests.Decision{Approve: true, Scope: requests.Scope{For: policy.Span(time.Second)}, Secret: "x"})
			d.ledger.Expire(time.Now().Add(time.Minute))
		},
	} {
		a, d, id, stderr := desk(t, askSecret)
		end(d, id)
		err := a.runApprove(t.Context(), id, approval{secretFrom: "env:NOT_THERE"})
		if err == nil || !strings.Contains(err.Error(), "already") || stderr.Len() != 0 {
			t.Errorf("%s: got %v, after %q", name, err, stderr)
		}
	}
}

// An empty answer would be a no: it is neither sent, nor taken for an answer.
func TestAnEmptyAnswerIsNone(t *testing.T) {
	for _, text := range []string{"", "  "} {
		a, d, id, stderr := desk(t, requests.Ask{Kind: requests.Question, Question: "Which?"})
		c := a.answer()
		c.SilenceUsage, c.SilenceErrors = true, true
		c.SetArgs([]string{id, text})
		err := c.ExecuteContext(t.Context())
		if err == nil || !strings.Contains(err.Error(), "an empty answer is none") || len(d.decided) != 0 || stderr.Len() != 0 {
			t.Errorf("got %v, %d decisions, %q", err, len(d.decided), stderr)
		}
	}
}

// --always is for what a manifest is changed by; nothing else is granted on the way.
func TestAlwaysIsRefusedWhereThereIsNoManifestForIt(t *testing.T) {
	for name, ask := range map[string]requests.Ask{"a repository": askHTTPS, "a credential": askSecret} {
		a, d, id, _ := desk(t, ask)
		err := a.runApprove(t.Context(), id, approval{yes: true, always: true})
		if err == nil || !strings.Contains(err.Error(), "only routes and changes of the image go into the manifest") || len(d.decided) != 0 {
			t.Errorf("%s: got %v, and %d decisions", name, err, len(d.decided))
		}
	}
}

// The flags that name a credential: what is sent is what they name, and nothing is where they
// do not fit.
func TestCredentialsAreNamedByFlags(t *testing.T) {
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	long, lines := filepath.Join(dir, "long"), filepath.Join(dir, "lines")
	for file, holds := range map[string]string{token: "from the file\n", long: strings.Repeat("x", 1<<20), lines: "from the file\nand more\n"} {
		if err := os.WriteFile(file, []byte(holds), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("BOT_BOTTLE_TEST_TOKEN", "from the environment")
	t.Setenv("BOT_BOTTLE_TEST_EMPTY", "")
	for name, test := range map[string]struct {
		ask    requests.Ask
		flags  approval
		secret string
		reach  *requests.Credential
		fails  string
	}{
		"env":                   {ask: askSecret, flags: approval{secretFrom: "env:BOT_BOTTLE_TEST_TOKEN"}, secret: "from the environment"},
		"file":                  {ask: askSecret, flags: approval{secretFrom: "file:" + token}, secret: "from the file"},
		"an empty one":          {ask: askSecret, flags: approval{secretFrom: "env:BOT_BOTTLE_TEST_EMPTY"}, fails: "BOT_BOTTLE_TEST_EMPTY is not set"},
		"none of these":         {ask: askSecret, flags: approval{secretFrom: "vault:x"}, fails: "is none of env:NAME, file:PATH, -"},
		"nothing, no terminal":  {ask: askSecret, fails: "standard input is not a terminal"},
		"without an end":        {ask: askSecret, flags: approval{secretFrom: "file:/dev/zero"}, fails: "/dev/zero is not a regular file of at most 65536 bytes"},
		"a long file":           {ask: askSecret, flags: approval{secretFrom: "file:" + long}, fails: "is not a regular file of at most 65536 bytes"},
		"two lines":             {ask: askSecret, flags: approval{secretFrom: "file:" + lines}, fails: "it holds a line break"},
		"a long token":          {ask: askHTTPS, flags: approval{secretFrom: "file:" + long}, fails: "is not a regular file of at most 65536 bytes"},
		"no file":               {ask: askSecret, flags: approval{secretFrom: "file:" + dir + "/none"}, fails: "no such file"},
		"not asked for":         {ask: askRoute, flags: approval{secretFrom: "file:" + token}, fails: "asks for no credential"},
		"a key for a route":     {ask: askRoute, flags: approval{keyFrom: token}, fails: "asks for no repository"},
		"a user for a route":    {ask: askRoute, flags: approval{user: "ann"}, fails: "asks for no repository"},
		"none for a credential": {ask: askSecret, flags: approval{noCredential: true}, fails: "asks for no repository"},
		"a token":               {ask: askHTTPS, flags: approval{secretFrom: "file:" + token}, reach: &requests.Credential{User: "git", Password: "from the file"}},
		"a token of a user":     {ask: askHTTPS, flags: approval{secretFrom: "file:" + token, user: "ann"}, reach: &requests.Credential{User: "ann", Password: "from the file"}},
		"none":                  {ask: askHTTPS, flags: approval{noCredential: true}, reach: &requests.Credential{}},
		"a user alone":          {ask: askHTTPS, flags: approval{user: "ann"}, fails: "that is not how"},
		"a key for https":       {ask: askHTTPS, flags: approval{keyFrom: token}, fails: "that is not how"},
		"a token for ssh":       {ask: askSSH, flags: approval{secretFrom: "file:" + token}, fails: "that is not how"},
		"none for ssh":          {ask: askSSH, flags: approval{noCredential: true}, fails: "that is not how"},
		"no key for ssh":        {ask: askSSH, fails: "supply a key"},
		"a key that is none":    {ask: askSSH, flags: approval{keyFrom: token}, fails: "key"},
	} {
		a, d, id, stderr := desk(t, test.ask)
		test.flags.yes = true
		err := a.runApprove(t.Context(), id, test.flags)
		if strings.Contains(stderr.String(), "from the file") || strings.Contains(stderr.String(), "from the environment") {
			t.Errorf("%s: the credential is on the screen: %s", name, stderr)
		}
		if test.fails != "" {
			if err == nil || !strings.Contains(err.Error(), test.fails) || len(d.decided) != 0 {
				t.Errorf("%s: got %v, and %d decisions", name, err, len(d.decided))
			}
			continue
		}
		if err != nil || len(d.decided) != 1 {
			t.Errorf("%s: got %v, and %d decisions", name, err, len(d.decided))
			continue
		}
		got := d.decided[0]
		if got.Secret != test.secret || (got.Credential == nil) != (test.reach == nil) || got.Credential != nil && *got.Credential != *test.reach {
			t.Errorf("%s: a wrong credential was sent", name)
		}
	}
}

// What is piped in is bounded as a file is, and never cut: half a credential is none.
func TestACredentialFromStandardInputIsBounded(t *testing.T) {
	for holds, fails := range map[string]string{"from a pipe\n": "", strings.Repeat("x", 64<<10) + "\n": "", strings.Repeat("x", 64<<10+1): "longer than 65536 bytes", strings.Repeat("x", 1<<20): "longer than 65536 bytes"} {
		a, d, id, _ := desk(t, askSecret)
		in, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		var writing sync.WaitGroup
		writing.Go(func() { _, _ = io.WriteString(out, holds); _ = out.Close() })
		a.Stdin = in
		err = a.runApprove(t.Context(), id, approval{yes: true, secretFrom: "-"})
		_ = in.Close()
		writing.Wait()
		if fails != "" && (err == nil || !strings.Contains(err.Error(), fails) || len(d.decided) > 0) || fails == "" && (err != nil || d.decided[0].Secret != strings.TrimSpace(holds)) {
			t.Errorf("%d bytes: got %v, and %d decisions", len(holds), err, len(d.decided))
		}
	}
}

// stuck is an output that nobody reads.
type stuck struct{ begun chan struct{} }

func (s stuck) Write([]byte) (int, error) {
	close(s.begun)
	select {}
}

// requests -f ends when it is told to, also where nobody reads what it prints.
func TestRequestsFollowedByNobodyEnd(t *testing.T) {
	a, _, _, _ := desk(t, askRoute)
	out := stuck{make(chan struct{})}
	a.Stdout = out
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.followRequests(ctx, false) }()
	<-out.begun
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("got %v", err)
	}
}

// told is a desk where something becomes of a push as soon as it is approved.
type told struct {
	*desked
	then func(id string) error
}

func (d *told) Decide(id string, dec requests.Decision) (requests.Shown, error) {
	s, err := d.desked.Decide(id, dec)
	return s, errors.Join(err, d.then(id))
}

// Whoever approves a push is told what became of it, and where it waits again, how to go on.
func TestWhatBecameOfAnApprovedPushIsTold(t *testing.T) {
	finish := func(result string) func(*desked, string) error {
		return func(d *desked, id string) error { _, err := d.ledger.Finish(id, result); return err }
	}
	reopen := func(d *desked, id string) error { _, err := d.ledger.Reopen(id, "no answer"); return err }
	for name, test := range map[string]struct {
		then       func(*desked, string) error
		want, hint string
	}{
		"pushed":      {finish(control.Forwarded), "", ""},
		"refused":     {finish("it has moved"), "abcdef-1 was approved, but not pushed: it has moved", ""},
		"waits again": {reopen, "abcdef-1 was approved, and waits again: no answer", "bot-bottle approve abcdef-1"},
		"rejected by another": {func(d *desked, id string) error {
			err := reopen(d, id)
			d.decide(t, id, requests.Decision{Reason: "no"})
			return err
		}, "abcdef-1 was approved, but not pushed: it was rejected since", ""},
	} {
		a, d, id, stderr := desk(t, requests.Ask{Kind: requests.Pushing, Push: &requests.Push{
			Repository: "widget", Updates: []policy.RefUpdate{{Ref: "refs/heads/x", New: strings.Repeat("a", 40)}},
		}})
		d.Desk = &told{d, func(id string) error { return test.then(d, id) }}
		err := a.runApprove(t.Context(), id, approval{yes: true})
		if got := fmt.Sprint(err); test.want == "" && (err != nil || !strings.Contains(stderr.String(), "abcdef-1 is pushed")) || test.want != "" && got != test.want {
			t.Errorf("%s: got %s\n%s", name, got, stderr)
		}
		if strings.Contains(stderr.String(), "decide") {
			t.Errorf("%s: who decides is told how to:\n%s", name, stderr)
		}
		var hinted interface{ Hint() string }
		if errors.As(err, &hinted); test.hint != "" && (hinted == nil || !strings.Contains(hinted.Hint(), test.hint)) {
			t.Errorf("%s: there is no hint", name)
		}
	}
}
