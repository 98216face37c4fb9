package requests

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// asks are one of each kind, of a bottle that has the repository "widget".
func asks() map[Kind]Ask {
	push := pushed()
	return map[Kind]Ask{
		Egress:     egress("docs.example", []string{"GET"}, []string{"/a"}),
		Secret:     {Kind: Secret, Route: &policy.Route{Host: "docs.example"}, Auth: &policy.Auth{Scheme: policy.Bearer, Secret: "TOKEN"}},
		Limit:      {Kind: Limit, Host: "registry.example", More: &policy.Limits{Requests: 1}},
		Question:   {Kind: Question, Question: "Which?", Choices: []string{"a", "b"}},
		Repo:       repo("widget", "fix"),
		Capability: {Kind: Capability, Image: &Image{Packages: []string{"ffmpeg"}}},
		Pushing:    {Kind: Pushing, Push: &push},
	}
}

// decide carries a decision out on what is shown now.
func decide(l *Ledger, r Request, d Decision) (Request, error) {
	d.Digest = l.Show(r, base()).Digest
	return l.Decide(t0, r.ID, base(), d)
}

// A decision that does not fit what is decided is refused, and decides nothing: a credential where
// none is asked for, an end where there is none, a yes to a question.
func TestAttackG2_ADecisionFitsItsRequest(t *testing.T) {
	credential := &Credential{Key: "k", HostKey: "h"}
	for name, test := range map[string]struct {
		kind Kind
		d    Decision
		want string
	}{
		"a secret for a route":            {Egress, Decision{Secret: "v"}, "supplied where one is asked for"},
		"a credential for a route":        {Egress, Decision{Credential: credential}, "supplied where one is asked for"},
		"a credential for a secret":       {Secret, Decision{Secret: "v", Credential: credential}, "supplied where one is asked for"},
		"no secret":                       {Secret, Decision{}, "supplied where one is asked for"},
		"a credential for a known one":    {Repo, Decision{Credential: credential}, "with its credential"},
		"a yes to a question":             {Question, Decision{}, "answer it"},
		"a push for a time":               {Pushing, Decision{Scope: Scope{For: policy.Span(time.Hour)}}, "approved once"},
		"a push for uses":                 {Pushing, Decision{Scope: Scope{Uses: 2}}, "approved once"},
		"an image for a time":             {Capability, Decision{Scope: Scope{For: policy.Span(time.Hour)}}, "as long as there is the bottle"},
		"a limit for uses":                {Limit, Decision{Scope: Scope{Uses: 1}}, "only routes and pushes"},
		"an end before the beginning":     {Egress, Decision{Scope: Scope{For: policy.Span(-time.Hour)}}, "cannot end before"},
		"less than no uses":               {Egress, Decision{Scope: Scope{Uses: -1}}, "cannot end before"},
		"less than no uses, of a refused": {Repo, Decision{Scope: Scope{Uses: -1}}, "cannot end before"},
	} {
		l := declared()
		r := mustAsk(t, l, t0, asks()[test.kind])
		test.d.Approve = true
		if got, err := decide(l, r, test.d); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
		if after, _ := l.Get(r.ID); after.State != Pending || after.Grant != nil {
			t.Errorf("%s: it became %+v", name, after)
		}
	}
}

// Which words were decided on, by whom and why, is on record, and plain.
func TestWhatWasDecidedIsOnRecord(t *testing.T) {
	l := declared()
	r := mustAsk(t, l, t0, asks()[Question])
	digest := l.Show(r, base()).Digest
	done, err := decide(l, r, Decision{By: "ann\x1b[2J", Reason: "r\n", Answer: "a\u202e"})
	if err != nil || done.State != Answered {
		t.Fatalf("got %+v, %v", done, err)
	}
	if want := (Outcome{At: t0, By: "ann[2J", Reason: "r", Answer: "a", Digest: digest}); *done.Decided != want {
		t.Errorf("got %+v, want %+v", *done.Decided, want)
	}
}

// What became of an approved push is noted once, and of nothing else.
func TestFinish(t *testing.T) {
	l := declared()
	for kind, a := range asks() {
		r := mustAsk(t, l, t0.Add(time.Duration(l.Len())*time.Second), a)
		if _, err := l.Finish(r.ID, "forwarded"); err == nil {
			t.Errorf("%s: what nobody has decided is finished", kind)
		}
		if kind != Pushing {
			continue
		}
		if _, err := decide(l, r, Decision{Approve: true}); err != nil {
			t.Fatal(err)
		}
		for _, result := range []string{"forwarded\x1b", "something else"} {
			if got, err := l.Finish(r.ID, result); err != nil || got.Decided.Result != "forwarded" {
				t.Errorf("got %+v, %v", got.Decided, err)
			}
		}
	}
	if _, err := l.Finish("k-99", "forwarded"); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
}

// Whatever is done to what the ledger hands out or takes over, it stays as it is; and what could not
// be carried out can be put back.
func TestNobodyElseChangesTheLedger(t *testing.T) {
	spoil := func(r Request) {
		for _, s := range [][]string{r.Why, r.Choices} {
			if len(s) > 0 {
				s[0] = "spoilt"
			}
		}
		if len(r.Routes) > 0 {
			r.Routes[0].Host = "evil.example"
		}
		if r.Git != nil {
			r.Git.Repository, r.Git.Push.Refs[0] = "evil", "refs/heads/main"
		}
		if r.Image != nil {
			r.Image.Dockerfile, r.Image.Packages[0] = "RUN evil", "evil"
		}
		if r.Decided != nil {
			r.Decided.Reason = "spoilt"
		}
		if r.Grant != nil {
			r.Grant.Used, r.Grant.Until = -1, t0.Add(time.Hour)
		}
	}
	l := declared()
	for kind, a := range asks() {
		a.Why = "because"
		r := mustAsk(t, l, t0.Add(time.Duration(l.Len())*time.Second), a)
		d := Decision{Approve: kind != Question}
		if kind == Secret {
			d.Secret = "v"
		}
		done, err := decide(l, r, d)
		if err != nil {
			t.Fatal(kind, err)
		}
		before := digest(l.All())
		got, _ := l.Get(r.ID)
		for _, handed := range append(l.All(), r, done, got) {
			spoil(handed)
		}
		if digest(l.All()) != before {
			t.Fatalf("%s: the ledger has changed", kind)
		}
		given := l.All()
		again := declared()
		again.Load(t0, given)
		loaded := digest(again.All())
		for _, r := range given {
			spoil(r)
		}
		if digest(again.All()) != loaded {
			t.Fatalf("%s: what was loaded has changed", kind)
		}
		l.Restore(r)
		if now, _ := l.Get(r.ID); now.State != Pending || now.Decided != nil || now.Grant != nil {
			t.Fatalf("%s: got %+v", kind, now)
		}
	}
}

// What is over is forgotten when there is much of it; what waits, what is granted, and a push on its way, never are.
func TestWhatIsOverIsForgotten(t *testing.T) {
	l, now := New("k"), t0
	waits := mustAsk(t, l, now, egress("a.example", nil, nil)).ID
	granted := mustAsk(t, l, now, egress("b.example", nil, nil)).ID
	approve(t, l, now, granted, Scope{})
	p := pushed()
	push := mustAsk(t, l, now, Ask{Kind: Pushing, Push: &p})
	if _, err := decide(l, push, Decision{Approve: true}); err != nil {
		t.Fatal(err)
	}
	first := ""
	for range maxHistory + 10 {
		now = now.Add(time.Second)
		r := mustAsk(t, l, now, egress("c.example", nil, nil))
		if first == "" {
			first = r.ID
		}
		if _, err := l.Cancel(now, r.ID); err != nil {
			t.Fatal(err)
		}
	}
	if l.Len() != maxHistory {
		t.Errorf("%d are kept, want %d", l.Len(), maxHistory)
	}
	if r, err := l.Get(waits); err != nil || r.State != Pending || !reaches(t, l, "b.example", "/") {
		t.Errorf("what waits is %+v, %v", r, err)
	}
	if r, err := l.Finish(push.ID, Forwarded); err != nil || r.Decided.Result != Forwarded {
		t.Errorf("the push on its way is %+v, %v", r, err)
	}
	if _, err := l.Get(first); !errors.Is(err, ErrUnknown) {
		t.Errorf("the oldest that is over: got %v", err)
	}
}

// The digest is of all that is decided: of what is asked for, whichever request it is, and of what
// the bottle may do besides.
func TestAttackG2_TheDigestIsOfAllThatIsDecided(t *testing.T) {
	l := declared()
	push := pushed()
	r := mustAsk(t, l, t0, Ask{Kind: Pushing, Push: &push})
	before := l.Show(r, base()).Digest
	for name, change := range map[string]func(*Request){
		"the request":  func(r *Request) { r.ID = "k-9" },
		"the upstream": func(r *Request) { r.Push.Upstream = "https://evil.example/acme/widget" },
		"the end of an id": func(r *Request) {
			r.Push.Updates = []policy.RefUpdate{{Ref: push.Updates[0].Ref, New: strings.Repeat("1", 39) + "2"}}
		},
		"the diff":  func(r *Request) { r.Push.Diff = strings.Repeat("e", 64) },
		"a commit":  func(r *Request) { r.Push.Commits = []Commit{{ID: strings.Repeat("4", 40)}} },
		"the files": func(r *Request) { r.Push.Stat = []string{"other | 1 +"} },
	} {
		other := r
		p := *r.Push
		other.Push = &p
		change(&other)
		if l.Show(other, base()).Digest == before {
			t.Errorf("%s can be another one", name)
		}
	}
	more := base()
	more.Routes = append(more.Routes, policy.Route{Host: "other.example"})
	if l.Show(r, more).Digest == before {
		t.Error("the policy can be another one")
	}
	given := mustAsk(t, l, t0, repo("widget", "fix"))
	approve(t, l, t0, given.ID, Scope{Uses: 3})
	after := l.Show(r, base()).Digest
	if after == before {
		t.Error("what may be pushed can be more")
	}
	if l.Use(t0, given.ID, 1); l.Show(r, base()).Digest != after {
		t.Error("it is to be shown again because of a use, which changes nothing about it")
	}
}

// The operator's own choice is checked as the agent's is, and marked.
func TestAttackG9_EditsFitTheirRequest(t *testing.T) {
	many := slices.Repeat([]policy.Route{{Host: "docs.example"}}, maxRoutes+1)
	for name, test := range map[string]struct {
		kind Kind
		to   Change
		want string
	}{
		"routes for a question":       {Question, Change{Routes: many[:1]}, "a request for egress"},
		"routes for a limit":          {Limit, Change{Routes: many[:1]}, "a request for egress"},
		"routes for a push":           {Pushing, Change{Routes: many[:1]}, "a request for egress"},
		"too many routes":             {Egress, Change{Routes: many}, "1 to 8 routes"},
		"another image":               {Capability, Change{Image: &Image{Dockerfile: "FROM evil"}}, "only RUN and ENV"},
		"nothing for an image":        {Capability, Change{}, "name packages"},
		"nothing for a repository":    {Repo, Change{}, "what may be pushed"},
		"no refs for one that it has": {Repo, Change{Push: &policy.Push{}}, "nothing to grant"},
	} {
		l := declared()
		r := mustAsk(t, l, t0, asks()[test.kind])
		_, err := l.Edit(r.ID, l.Show(r, base()).Digest, base(), test.to)
		if after, _ := l.Get(r.ID); err == nil || !strings.Contains(err.Error(), test.want) || !reflect.DeepEqual(after, r) {
			t.Errorf("%s: got %v, and %+v", name, err, after)
		}
	}
	l := declared()
	r := mustAsk(t, l, t0, asks()[Capability])
	edited, err := l.Edit(r.ID, l.Show(r, base()).Digest, base(), Change{Image: &Image{Packages: []string{"jq"}}})
	if err != nil || !edited.Edited || !slices.Equal(edited.Image.Packages, []string{"jq"}) {
		t.Errorf("got %+v, %v", edited, err)
	}
	marked := slices.ContainsFunc(l.Show(edited, base()).Lines(), func(line Line) bool { return line.Key == "edited" })
	if !marked {
		t.Error("it is not shown as edited")
	}
}

// Whatever an agent had a hand in is marked as that, for whoever draws it.
func TestAttackG8_WordsAreMarked(t *testing.T) {
	l := declared()
	all := asks()
	question, push := all[Question], pushed()
	question.Why = "mine"
	push.Commits, push.Stat, push.Count = []Commit{{ID: "1", Author: "mine", Subject: "mine"}}, []string{"mine | 1 +"}, 1
	question.Question, question.Choices = "mine?", []string{"mine"}
	for i, a := range []Ask{question, {Kind: Pushing, Push: &push}} {
		r := mustAsk(t, l, t0.Add(time.Duration(i)*time.Second), a)
		found := 0
		for _, line := range l.Show(r, base()).Lines() {
			if strings.Contains(line.Text, "mine") {
				found++
				if !line.Words {
					t.Errorf("%q is not marked", line.Text)
				}
			}
		}
		if found == 0 {
			t.Errorf("%s: nothing of it is shown", a.Kind)
		}
	}
}

// An approved push that did not go waits again: what it is about is the same, the approval is gone, and it is decided
// as any other.
func TestReopen(t *testing.T) {
	l := declared()
	for kind, a := range asks() {
		r := mustAsk(t, l, t0.Add(time.Duration(l.Len())*time.Second), a)
		if _, err := l.Reopen(r.ID, "no answer"); err == nil {
			t.Errorf("%s: what nobody has decided is opened again", kind)
		}
		if _, err := decide(l, r, Decision{Approve: true}); err != nil || kind == Pushing {
			continue
		}
		if _, err := l.Reopen(r.ID, "no answer"); err == nil {
			t.Errorf("%s: what is granted is opened again", kind)
		}
	}
	a := asks()[Pushing]
	a.Push.Repository = "other"
	r := mustAsk(t, l, t0.Add(time.Minute), a)
	for name, end := range map[string]func() (Request, error){
		"approve": func() (Request, error) { return decide(l, r, Decision{Approve: true}) },
		"reject":  func() (Request, error) { return decide(l, r, Decision{Reason: "no"}) },
		"cancel":  func() (Request, error) { return l.Cancel(t0, r.ID) },
	} {
		l.Restore(r)
		if _, err := decide(l, r, Decision{Approve: true}); err != nil {
			t.Fatal(err)
		}
		again, err := l.Reopen(r.ID, "no\x1b answer")
		if err != nil || again.State != Pending || again.Decided != nil || again.Again != "no answer" || !again.Open() {
			t.Fatalf("%s: got %+v, %v", name, again, err)
		}
		shown := l.Show(again, base())
		if was := l.Show(r, base()); shown.Digest != was.Digest {
			t.Errorf("%s: it is another decision", name)
		}
		if lines := shown.Lines(); lines[len(lines)-1] != (Line{Key: "again", Text: "it was approved, and waits again: no answer"}) {
			t.Errorf("%s: it is shown as %+v", name, lines)
		}
		if _, err := l.Reopen(r.ID, "no answer"); err == nil {
			t.Errorf("%s: it is opened twice", name)
		}
		if same, err := l.Ask(t0.Add(time.Hour), base(), a); err != nil || same.ID != r.ID {
			t.Errorf("%s: the same push is %s, %v", name, same.ID, err)
		}
		if got, err := end(); err != nil || got.Again != "" || got.Decided == nil {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	l.Restore(r)
	if _, err := decide(l, r, Decision{Approve: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Finish(r.ID, "forwarded"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Reopen(r.ID, "no answer"); err == nil {
		t.Error("what has come to its end is opened again")
	}
	if _, err := l.Reopen("k-99", "no answer"); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
}
