package prove

import (
	"bytes"
	_ "embed"
	"html/template"
	"time"
)

//go:embed page.html
var pageText string

// page escapes what attacks and upstreams said.
var page = template.Must(template.New("page").Parse(pageText))

// Page is the report as one HTML page, which loads nothing.
func Page(r Report) []byte {
	held, broken, missing := r.Count()
	var b bytes.Buffer
	err := page.Execute(&b, map[string]any{"Report": r, "Took": r.Took.Round(100 * time.Millisecond), "Held": held, "Broken": broken, "Missing": missing})
	if err != nil {
		panic(err) // strings and numbers, into memory
	}
	return b.Bytes()
}
