package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

const bottle = "dev-abcdef"

// run appends a run of n requests to a log, with its end if it was orderly.
func run(t *testing.T, log []string, n int, ended bool) []string {
	t.Helper()
	head, _, err := ReadHead(strings.NewReader(strings.Join(log, "")))
	if err != nil {
		t.Fatal(err)
	}
	chain := Continue(head)
	events := []Event{{Service: Bundle, Kind: Begin}}
	for i := range n {
		events = append(events, Event{Service: "egress", Kind: Request, Decision: Allow, Host: "api.example", Path: fmt.Sprintf("/%d", i)})
	}
	if ended {
		events = append(events, Event{Service: Bundle, Kind: End})
	}
	for _, e := range events {
		e.Bottle, e.Time = bottle, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		line, err := chain.Line(e)
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, string(line))
	}
	return log
}

func join(log []string) io.Reader { return strings.NewReader(strings.Join(log, "")) }

func TestAWholeLogVerifies(t *testing.T) {
	for name, c := range map[string]struct {
		log  []string
		want Report
	}{
		"nothing":        {nil, Report{}},
		"goes on":        {run(t, nil, 3, false), Report{Runs: 1, Open: true}},
		"ended":          {run(t, nil, 3, true), Report{Runs: 1}},
		"resumed":        {run(t, run(t, nil, 3, true), 2, true), Report{Runs: 2}},
		"after a crash":  {run(t, run(t, nil, 3, false), 0, true), Report{Runs: 2}},
		"crashed, again": {run(t, run(t, nil, 3, false), 4, false), Report{Runs: 2, Open: true}},
	} {
		t.Run(name, func(t *testing.T) {
			head, torn, err := ReadHead(join(c.log))
			if err != nil || torn != 0 || head.Lines != int64(len(c.log)) {
				t.Errorf("got %v, %d, %v", head, torn, err)
			}
			c.want.Head = head
			got, err := Verify(iotest.OneByteReader(join(c.log)), Expect{Bottle: bottle, Head: &head, Ended: true})
			if err != nil || got != c.want {
				t.Errorf("got %+v, %v, want %+v", got, err, c.want)
			}
		})
	}
}

// Attack H5: somebody deletes, inserts, edits, moves or forges lines of a log. The first
// line that is wrong is named. Lines count from 1; the log has ten of one run and four of
// the next.
func TestAttackH5_EveryChangeIsFound(t *testing.T) {
	log := run(t, run(t, nil, 8, true), 2, true)
	head, _, err := ReadHead(join(log))
	if err != nil {
		t.Fatal(err)
	}
	forged := run(t, nil, 8, true)[4]
	edit := func(n int, from, to string) func([]string) []string {
		return func(l []string) []string {
			if !strings.Contains(l[n-1], from) {
				t.Fatalf("line %d has no %s: %s", n, from, l[n-1])
			}
			l[n-1] = strings.Replace(l[n-1], from, to, 1)
			return l
		}
	}
	rehashed := func(l []string) []string { // all of it is made anew, for less traffic
		return run(t, run(t, nil, 7, true), 3, true)
	}
	for name, c := range map[string]struct {
		harm   func([]string) []string
		line   int64
		anchor bool // found only with the head that was recorded
	}{
		"first deleted":        {func(l []string) []string { return l[1:] }, 1, false},
		"deleted":              {func(l []string) []string { return slices.Delete(l, 4, 5) }, 5, false},
		"some deleted":         {func(l []string) []string { return slices.Delete(l, 4, 8) }, 5, false},
		"a run deleted":        {func(l []string) []string { return l[10:] }, 1, false},
		"its end deleted":      {func(l []string) []string { return slices.Delete(l, 9, 10) }, 10, false},
		"last deleted":         {func(l []string) []string { return l[:13] }, 14, true},
		"last run deleted":     {func(l []string) []string { return l[:10] }, 11, true},
		"all deleted":          {func([]string) []string { return nil }, 1, true},
		"inserted":             {func(l []string) []string { return slices.Insert(l, 4, forged) }, 6, false},
		"inserted, numbered":   {func(l []string) []string { return slices.Insert(l, 4, edit5(forged)) }, 5, false},
		"inserted first":       {func(l []string) []string { return slices.Insert(l, 0, forged) }, 1, false},
		"appended":             {func(l []string) []string { return append(l, forged) }, 15, false},
		"appended, chained":    {func(l []string) []string { return run(t, l, 1, true) }, 15, true},
		"appended to a run":    {func(l []string) []string { return slices.Insert(l, 10, chained(t, l[:10])) }, 11, false},
		"twice":                {func(l []string) []string { return slices.Insert(l, 4, l[4]) }, 6, false},
		"moved":                {func(l []string) []string { l[4], l[5] = l[5], l[4]; return l }, 5, false},
		"first edited":         {edit(1, "03:04", "04:04"), 1, false},
		"decision":             {edit(5, "allow", "deny"), 5, false},
		"path":                 {edit(5, `"/3"`, `"/4"`), 5, false},
		"white space":          {edit(5, `{"seq"`, `{ "seq"`), 5, false},
		"white space after":    {edit(5, "}\n", "} \n"), 5, false},
		"line end":             {edit(5, "}\n", "}\r\n"), 5, false},
		"unknown field":        {edit(5, "}\n", `,"x":1}`+"\n"), 5, false},
		"twice the key":        {edit(5, "}\n", `,"decision":"deny"}`+"\n"), 5, false},
		"number":               {edit(5, `"seq":5`, `"seq":6`), 5, false},
		"hash":                 {func(l []string) []string { l[4] = l[4][:20] + other(l[4][20]) + l[4][21:]; return l }, 5, false},
		"next to last edited":  {edit(13, "allow", "deny"), 13, false},
		"last edited":          {edit(14, "03:04", "04:04"), 14, true},
		"another bottle's":     {edit(1, bottle, "old-abcdef"), 1, false},
		"last cut":             {func(l []string) []string { l[13] = l[13][:50]; return l }, 14, false},
		"last without its end": {func(l []string) []string { l[13] = strings.TrimSuffix(l[13], "\n"); return l }, 14, false},
		"cut in the middle":    {func(l []string) []string { l[4] = l[4][:50] + "\n"; return l }, 5, false},
		"no JSON":              {func(l []string) []string { l[4] = "nothing to see\n"; return l }, 5, false},
		"blank line":           {func(l []string) []string { return slices.Insert(l, 4, "\n") }, 5, false},
		"array":                {func(l []string) []string { l[4] = "[" + strings.TrimSuffix(l[4], "\n") + "]\n"; return l }, 5, false},
		"very long":            {func(l []string) []string { l[4] = strings.Repeat(" ", 1<<20) + l[4]; return l }, 5, false},
		"zeroes":               {func(l []string) []string { l[4] = strings.Repeat("\x00", len(l[4])); return l }, 5, false},
		"other, made anew":     {rehashed, 14, true},
	} {
		t.Run(name, func(t *testing.T) {
			harmed := strings.Join(c.harm(slices.Clone(log)), "")
			for _, want := range []Expect{{Bottle: bottle, Head: &head, Ended: true}, {Bottle: bottle}} {
				_, err := Verify(strings.NewReader(harmed), want)
				broken := (*BrokenError)(nil)
				if want.Head == nil && c.anchor {
					if err != nil {
						t.Errorf("without the head: %v", err)
					}
				} else if !errors.As(err, &broken) || broken.Line != c.line {
					t.Errorf("got %v, want line %d", err, c.line)
				}
			}
		})
	}
}

func edit5(line string) string { return strings.Replace(line, `"seq":5`, `"seq":5 `, 1) }

func other(hex byte) string {
	if hex == 'a' {
		return "b"
	}
	return "a"
}

// chained is an event that follows log as its next line would.
func chained(t *testing.T, log []string) string {
	t.Helper()
	return linked(t, log, Event{Service: "egress", Kind: Request})
}

// linked is a line that fits behind a log.
func linked(t *testing.T, log []string, e Event) string {
	t.Helper()
	head, _, _ := ReadHead(join(log))
	e.Bottle = bottle
	line, err := Continue(head).Line(e)
	if err != nil {
		t.Fatal(err)
	}
	return string(line)
}

// Attack H5: a log of one bottle, whole, is passed off as another's.
func TestAttackH5_AnotherBottlesLog(t *testing.T) {
	if _, err := Verify(join(run(t, nil, 2, true)), Expect{Bottle: "other-aaaaaa"}); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("got %v", err)
	}
}

// Whatever is shown, what is no event is an error and not skipped.
func TestAReaderStopsAtWhatIsNoEvent(t *testing.T) {
	log := run(t, nil, 3, true)
	log[2] = "{}\n"
	r := NewReader(join(log), bottle)
	for range 2 {
		if _, _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if _, _, err := r.Next(); !errors.As(err, new(*BrokenError)) {
			t.Errorf("got %v", err)
		}
	}
}

// The host reads a run anew when it takes the bottle down, whatever it had of it.
func TestSplice(t *testing.T) {
	before := run(t, nil, 3, true)
	whole := run(t, before, 4, true)
	last := whole[len(before):]
	torn := func(n int) []string { return append(slices.Clone(whole[:n]), whole[n][:30]) }
	for name, c := range map[string]struct{ file, run, want []string }{
		"first run, nothing read":      {nil, before, before},
		"first run, some read":         {before[:2], before, before},
		"first run, torn":              {torn(2), before, before},
		"second run, nothing read":     {before, last, whole},
		"second run, torn beginning":   {torn(len(before)), last, whole},
		"second run, some read":        {whole[:7], last, whole},
		"second run, torn":             {torn(7), last, whole},
		"second run, all read":         {whole, last, whole},
		"nothing said":                 {whole, nil, whole},
		"half a line said":             {whole, []string{last[0][:20]}, whole},
		"the engine lost some":         {whole, last[:2], whole[:len(before)+2]},
		"the file lost lines":          {before[:3], last, slices.Concat(before[:3], last)},
		"the file lost half a line":    {append(slices.Clone(before[:3]), `{"seq`), last, slices.Concat(before[:3], []string{"{\"seq\n"}, last)},
		"a first line without number":  {before, []string{"{}\n"}, append(slices.Clone(before), "{}\n")},
		"a first line that is no JSON": {before, []string{"?\n"}, append(slices.Clone(before), "?\n")},
	} {
		for kind, slow := range map[string]func(io.Reader) io.Reader{"": func(r io.Reader) io.Reader { return r }, " slowly": iotest.OneByteReader, " with the end": iotest.DataErrReader} {
			t.Run(name+kind, func(t *testing.T) {
				spliced, err := Splice(slow(join(c.file)), slow(join(c.run)))
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(spliced)
				if err != nil || string(got) != strings.Join(c.want, "") {
					t.Errorf("got %v\n%s\nwant\n%s", err, got, strings.Join(c.want, ""))
				}
			})
		}
	}
}

func TestExtends(t *testing.T) {
	long := strings.Repeat("0123456789", 10000)
	for _, c := range []struct {
		long, short string
		want        bool
	}{
		{"", "", true}, {"a", "", true}, {"", "a", false}, {"ab", "a", true}, {"a", "ab", false}, {"ab", "b", false},
		{long, long, true}, {long, long[:70000], true}, {long[:70000], long, false}, {long, long[:70000] + "x", false},
	} {
		if got, err := Extends(iotest.HalfReader(strings.NewReader(c.long)), strings.NewReader(c.short)); got != c.want || err != nil {
			t.Errorf("%.10q %.10q: got %v, %v", c.long, c.short, got, err)
		}
	}
}

func TestReadHeadKnowsATornLine(t *testing.T) {
	log := run(t, nil, 3, false)
	whole, _, _ := ReadHead(join(log))
	if head, torn, err := ReadHead(join(append(log, `{"seq":5,`))); head != whole || torn != 9 || err != nil {
		t.Errorf("got %v, %d, %v", head, torn, err)
	}
}

// What a service prints becomes a line that Chain makes anew, or no line.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{"event":"request","path":"\u001b","rule":3,"duration_ms":1e9}`, `{"event":"end"}`, `{"event":"request"} {}`, "null", `{"EVENT":"a","event":"b","bytes_in":-1}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := Decode(data)
		if err != nil {
			return
		}
		e.Bottle = bottle
		begin, err := Continue(Head{}).Line(Event{Bottle: bottle, Kind: Begin})
		if err != nil {
			t.Fatal(err)
		}
		line, err := Continue(Head{}.then(begin)).Line(e)
		if err != nil {
			return // a time beyond the year 9999
		}
		if len(line) > maxLine || bytes.Count(line, []byte("\n")) != 1 {
			t.Errorf("got %q", line)
		}
		if _, err := Verify(bytes.NewReader(slices.Concat(begin, line)), Expect{Bottle: bottle}); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		again, err := Decode(bytes.TrimSuffix(line, []byte("\n")))
		if err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		same, err := Continue(Head{}.then(begin)).Line(again)
		if err != nil || !bytes.Equal(same, line) {
			t.Errorf("got %s, then %s, %v", line, same, err)
		}
	})
}

// FuzzVerify: any bytes are a log or an error of ours, never a panic.
func FuzzVerify(f *testing.F) {
	f.Add([]byte(`{"seq":1,"prev":"` + origin + `","event":"begin","bottle":"dev-abcdef"}` + "\n{"))
	f.Fuzz(func(t *testing.T, data []byte) {
		report, err := Verify(bytes.NewReader(data), Expect{Bottle: bottle})
		if err != nil && !errors.As(err, new(*BrokenError)) {
			t.Errorf("got %v", err)
		}
		if head, torn, _ := ReadHead(bytes.NewReader(data)); err == nil && (head != report.Head || torn != 0) {
			t.Errorf("got %+v, but %v, %d", report, head, torn)
		}
	})
}

// How an agent ended is the last line of its run: behind the end that its bundle wrote, or
// behind what a killed one had said, once. What comes after it, but for another run, is not
// what was written.
func TestHowTheAgentEndedIsTheLastLine(t *testing.T) {
	code := 3
	ending := Event{Bottle: bottle, Time: time.Date(2026, 1, 2, 4, 4, 5, 0, time.UTC), Exit: &code, Reason: "it was stopped"}
	const half = `{"seq":5,`
	closed := func(log []string) []string {
		t.Helper()
		line, head, cut, err := Ending(join(log), ending)
		if err != nil {
			t.Fatal(err)
		}
		if cut > 0 {
			if log = log[:len(log)-1]; cut != int64(len(half)) || !strings.Contains(string(line), "9 bytes of a line") {
				t.Errorf("%d bytes are to be taken off: %s", cut, line)
			}
		}
		if len(line) > 0 {
			log = append(slices.Clone(log), string(line))
		}
		if now, _, err := ReadHead(join(log)); err != nil || now != head {
			t.Errorf("the log ends at %+v, not %+v: %v", now, head, err)
		}
		return log
	}
	for name, c := range map[string]struct {
		log   []string
		lines int
		line  int64 // that is wrong
	}{
		"ended":              {closed(run(t, nil, 2, true)), 5, 0},
		"bundle killed":      {closed(run(t, nil, 2, false)), 4, 0},
		"told once":          {closed(closed(run(t, nil, 2, true))), 5, 0},
		"resumed":            {closed(run(t, closed(run(t, nil, 2, true)), 1, true)), 9, 0},
		"nothing ran":        {closed(nil), 0, 0},
		"behind half a line": {closed(append(run(t, nil, 2, true), half)), 5, 0},
		"a line after it":    {append(closed(run(t, nil, 2, false)), chained(t, closed(run(t, nil, 2, false)))), 5, 5},
		"two of them":        {append(closed(run(t, nil, 2, false)), linked(t, closed(run(t, nil, 2, false)), Event{Kind: AgentEnd})), 5, 5},
		"of no run":          {[]string{linked(t, nil, Event{Kind: AgentEnd})}, 1, 1},
		"edited":             {[]string{strings.Replace(strings.Join(closed(run(t, nil, 2, true)), ""), `"exit":3`, `"exit":0`, 1)}, 1, 5},
	} {
		t.Run(name, func(t *testing.T) {
			if len(c.log) != c.lines {
				t.Errorf("got %d lines: %s", len(c.log), c.log)
			}
			head, _, err := ReadHead(join(closed(run(t, nil, 2, true))))
			if err != nil {
				t.Fatal(err)
			}
			want := Expect{Bottle: bottle}
			if name == "edited" {
				want.Head, want.Ended = &head, true
			}
			_, err = Verify(join(c.log), want)
			broken := (*BrokenError)(nil)
			if errors.As(err, &broken); c.line == 0 && err != nil || c.line > 0 && (broken == nil || broken.Line != c.line) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := Decode([]byte(`{"time":"2026-01-02T03:04:05Z","bottle":"dev-abcdef","service":"egress","event":"agent-end","exit":0}`)); err == nil {
		t.Error("a service may say how the agent ended")
	}
}
