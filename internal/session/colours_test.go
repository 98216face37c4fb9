package session

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/terminal"
)

// A terminal's answers are taken out of what is typed, wherever they are cut, and nothing else is.
func TestColoursAreTakenOutOfWhatIsTyped(t *testing.T) {
	const ink, paper = "\x1b]10;rgb:1111/22/f\x07", "\x1b]11;rgb:fafa/f0f0/e6e6\x1b\\"
	want := []byte{0x11, 0x22, 0xff, 0xfa, 0xf0, 0xe6}
	in := "ab" + ink + "\x1b[A" + paper + "c\x1b]11;rgb:0/0/0\x07"
	for cut := range len(in) {
		if cut > 0 && in[cut-1] == 0x1b {
			continue // a lone ESC is passed on: somebody may have typed it
		}
		p := newPalette(io.MultiReader(strings.NewReader(in[:cut]), strings.NewReader(in[cut:])))
		got, err := io.ReadAll(p)
		if err != nil || string(p.content()) != string(want) || string(got) != "ab\x1b[Ac\x1b]11;rgb:0/0/0\x07" {
			t.Fatalf("cut at %d: got %q, %x, %v", cut, got, p.content(), err)
		}
	}
	for _, in := range []string{"\x1b]", "\x1b]1", "\x1b]12;rgb:0/0/0\x07", "\x1b]11;?\x07", "\x1b]11;" + strings.Repeat("0", 100), "plain"} {
		if got, err := io.ReadAll(newPalette(strings.NewReader(in))); string(got) != in || err != nil {
			t.Errorf("%q: got %q, %v", in, got, err)
		}
	}
}

// asked shows a session on a terminal that answers what it is asked for at once.
func asked(t *testing.T, h *Hub, answers string, change func(*Options, *glass)) *glass {
	t.Helper()
	g := look(t, h, Size{80, 24}, func(o *Options, g *glass) {
		o.Colours = true
		if change != nil {
			change(o, g)
		}
	})
	if answers != "" {
		g.send(answers)
	}
	return g
}

const light = "\x1b]10;rgb:0000/0000/0000\x1b\\\x1b]11;rgb:ffff/ffff/ffff\x1b\\"

// An agent that asks for its terminal's colours is told those of the operator's, the first time
// as well, which may be before the operator's terminal has answered; without one it is dark.
func TestAnAgentIsToldTheOperatorsColours(t *testing.T) {
	const (
		dark      = "\x1b]11;rgb:0000/0000/0000\x1b\\"
		lightOnes = "\x1b]11;rgb:ffff/ffff/ffff\x1b\\\x1b]10;rgb:0000/0000/0000\x1b\\\x1b[?997;2n"
	)
	h, k := newTestHub(t)
	h.Output([]byte("\x1b]11;?\x07"))
	eventually(t, "nobody looks, and it is not dark", func() bool { return k.String() == dark })

	h, k = newTestHub(t)
	h.Await()
	printed := make(chan struct{})
	go func() {
		defer close(printed)
		h.Output([]byte("\x1b]11;?\x07\x1b]10;?\x07\x1b[?996nshown"))
	}()
	first := asked(t, h, light, nil)
	<-printed
	first.shows("shown")
	eventually(t, "it is not told: "+k.String(), func() bool { return k.String() == lightOnes })

	_ = first.cut()
	second := asked(t, h, "\x1b]10;rgb:ff/ff/ff\x07\x1b]11;rgb:20/20/20\x07x", nil)
	second.shows("shown")
	eventually(t, "the next one's are not taken over", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.screen.Scheme == terminal.Scheme{Ink: terminal.RGB{R: 255, G: 255, B: 255}, Paper: terminal.RGB{R: 32, G: 32, B: 32}}
	})
	eventually(t, "an answer is typed into the bottle: "+k.String(), func() bool { return k.String() == lightOnes+"x" })
}

// A terminal that does not answer holds up neither the agent for long, nor who leaves; who only
// looks changes nothing.
func TestATerminalThatDoesNotTellItsColours(t *testing.T) {
	h, k := newTestHub(t)
	a := asked(t, h, "", nil)
	asked(t, h, light, func(o *Options, _ *glass) { o.ReadOnly = true }).shows("")
	h.Output([]byte("\x1b]11;?\x07here"))
	a.shows("here")
	if got := k.String(); got != "\x1b]11;rgb:0000/0000/0000\x1b\\" {
		t.Errorf("got %q", got)
	}
	began := time.Now()
	p := newPalette(strings.NewReader(""))
	p.await()
	if took := time.Since(began); took < answerWithin {
		t.Errorf("a late answer would be typed to a shell: waited %s", took)
	}
}

// FuzzPalette: what is no answer comes through as it is.
func FuzzPalette(f *testing.F) {
	f.Add("x"+light+"y", uint(7))
	f.Fuzz(func(t *testing.T, in string, cut uint) {
		at := int(cut % uint(len(in)+1))
		got, err := io.ReadAll(newPalette(&chunks{[]string{in[:at], in[at:] + "."}}))
		if err != nil || !strings.Contains(in, "\x1b]1") && string(got) != in+"." {
			t.Fatalf("%q at %d: got %q, %v", in, at, got, err)
		}
	})
}
