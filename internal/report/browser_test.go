package report

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/bot-bottle/bot-bottle/test/browser"
	"github.com/bot-bottle/bot-bottle/test/need"
)

var shots = flag.String("shots", "", "write screenshots of the report into this directory")

// chromium starts a browser.
func chromium(t *testing.T) *browser.Browser {
	t.Helper()
	b, err := browser.Start(t.Context())
	if errors.Is(err, browser.ErrMissing) {
		need.Lacking(t, need.Browser, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func looks() map[string]browser.Look {
	return map[string]browser.Look{
		"light": {Width: 1280, Height: 1480}, "dark": {Width: 1280, Height: 1480, Dark: true}, "phone": {Width: 390, Height: 1200},
		"phone-dark": {Width: 390, Height: 1200, Dark: true}, "print": {Width: 794, Height: 1123, Print: true},
	}
}

// A browser opens the report: it asks for nothing else, complains of nothing, and nothing
// is wider than the window; not on a phone, in the dark, or on paper.
func TestTheReportInABrowser(t *testing.T) {
	b := chromium(t)
	d := aDay(t)
	_, day := d.page(d.ended())
	for name, page := range map[string]string{"day": day, "empty": second(newDiary(t).page(newDiary(t).ended()))} {
		for how, look := range looks() {
			check(t, b, name+" "+how, page, look)
			if *shots != "" && name == "day" {
				png, err := b.Screenshot(t.Context(), how == "print")
				if err := errors.Join(err, os.WriteFile(filepath.Join(*shots, "report-"+how+".png"), png, 0o644)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func second(_ *Report, page string) string { return page }

// Attack H3: a report of a log full of markup is opened in a browser. No script runs, nothing
// is asked for, nothing breaks out of its place.
func TestAttackH3_TheReportRunsNothing(t *testing.T) {
	b := chromium(t)
	page := hostilePage(t, injections()...)
	for how, look := range looks() {
		check(t, b, how, page, look)
	}
}

// check opens a page from a file, as whoever got it by mail does.
func check(t *testing.T, b *browser.Browser, name, page string, look browser.Look) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(path, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Open(t.Context(), "file://"+path, look); err != nil {
		t.Fatal(err)
	}
	for _, e := range b.Events() {
		var said struct {
			Request struct{ URL string }
			Entry   struct{ Text string }
		}
		_ = json.Unmarshal(e.Params, &said)
		switch e.Method {
		case "Network.requestWillBeSent":
			if said.Request.URL != "file://"+path {
				t.Errorf("%s: it asks for %s", name, said.Request.URL)
			}
		case "Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled":
			t.Errorf("%s: %s %s", name, e.Method, e.Params)
		}
	}
	var found struct {
		Pwned, Over, Scripts, Handlers, Styled int
		Wide                                   []string
	}
	if err := b.Evaluate(t.Context(), `(() => {
		const all = [...document.querySelectorAll("*")], width = document.documentElement.clientWidth;
		return {
			Pwned: window.pwned ? 1 : 0,
			Over: document.scrollingElement.scrollWidth - width,
			Scripts: document.querySelectorAll("script,iframe,img,link,object,embed,base,form,a").length,
			Handlers: all.filter(e => [...e.attributes].some(a => a.name.startsWith("on"))).length,
			Styled: getComputedStyle(document.body).maxWidth === "none" && !matchMedia("print").matches ? 1 : 0,
			Wide: all.filter(e => e.getBoundingClientRect().right > width + 1 && !e.closest(".table")).slice(0, 3).map(e => e.tagName + "." + e.getAttribute("class")),
		}})()`, &found); err != nil {
		t.Fatal(err)
	}
	if found.Pwned+found.Over+found.Scripts+found.Handlers+found.Styled+len(found.Wide) != 0 {
		t.Errorf("%s: got %+v", name, found)
	}
}
