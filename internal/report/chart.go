package report

import (
	"fmt"
	"time"
)

// A chart is drawn in a box of 1000 by 100, which the page stretches.
const (
	chartWidth  = 1000.0
	chartHeight = 100.0
)

// Chart is stacked bars over time, with words around it.
type Chart struct {
	Title, Top string // the value at the top
	From, To   string
	Bars       []Bar
	Line       string // points of a line over the bars, "" for none
	LineTop    string // the line's value at the top
	Legend     []Key
	Empty      bool
}

// Bar is one rectangle.
type Bar struct {
	X, Y, W, H string
	Class      string // one of our words
	Tip        string
}

// Key says what a colour means.
type Key struct{ Class, Text string }

// layer is one part of each bar, from the bottom up.
type layer struct {
	key Key
	of  func(bucket) float64
}

// places is how many bars there is room for: a few at least, or one would be all of it.
func (s *series) places() int { return max(s.last+1, 12) }

// chart stacks layers. say puts a value into words.
func (s *series) chart(title string, say func(float64) string, layers ...layer) Chart {
	c := Chart{Title: title, From: clock(s.start), To: clock(s.start.Add(time.Duration(s.places()) * s.width)), Empty: true}
	var most float64
	for _, b := range s.of[:s.last+1] {
		most = max(most, sum(b, layers))
	}
	c.Top = say(most)
	for _, l := range layers {
		c.Legend = append(c.Legend, l.key)
	}
	if most == 0 {
		return c
	}
	c.Empty = false
	step := chartWidth / float64(s.places())
	for i, b := range s.of[:s.last+1] {
		base := chartHeight
		for _, l := range layers {
			v := l.of(b)
			if v <= 0 {
				continue
			}
			h := max(0.8, v/most*chartHeight)
			base -= h
			c.Bars = append(c.Bars, Bar{
				X: number(float64(i) * step), Y: number(max(0, base)), W: number(step * 0.84), H: number(h), Class: l.key.Class,
				Tip: clock(s.start.Add(time.Duration(i)*s.width)) + ": " + say(v) + " " + l.key.Text,
			})
		}
	}
	return c
}

// rising draws a line that adds a value up, over the bars.
func (s *series) rising(c *Chart, key Key, say func(float64) string, of func(bucket) float64) {
	var whole, so float64
	for _, b := range s.of {
		whole += of(b)
	}
	if whole == 0 {
		return
	}
	step := chartWidth / float64(s.places())
	points := "0," + number(chartHeight)
	for i, b := range s.of[:s.last+1] {
		so += of(b)
		points += fmt.Sprintf(" %s,%s", number((float64(i)+0.84)*step), number(chartHeight-so/whole*(chartHeight-2)))
	}
	c.Line, c.LineTop = points, say(whole)
	c.Legend = append(c.Legend, key)
}

func sum(b bucket, layers []layer) (whole float64) {
	for _, l := range layers {
		whole += l.of(b)
	}
	return whole
}

func number(v float64) string { return fmt.Sprintf("%.2f", v) }

func clock(t time.Time) string { return t.UTC().Format("2 Jan 15:04:05") }

// Charts are those of the page.
func (r *Report) Charts() []Chart {
	s := r.series
	all := []Chart{
		s.chart("Requests", whole, layer{Key{"allow", "allowed"}, func(b bucket) float64 { return b.allowed }}, layer{Key{"deny", "blocked"}, func(b bucket) float64 { return b.blocked }}),
		s.chart("Bytes", func(v float64) string { return size(int64(v)) }, layer{Key{"in", "to the bottle"}, func(b bucket) float64 { return b.in }}, layer{Key{"out", "from the bottle"}, func(b bucket) float64 { return b.out }}),
	}
	if r.Totals.TokensIn+r.Totals.TokensOut == 0 {
		return all
	}
	tokens := s.chart("Tokens", func(v float64) string { return brief(int64(v)) },
		layer{Key{"cached", "input from a cache"}, func(b bucket) float64 { return b.cached }},
		layer{Key{"fresh", "input"}, func(b bucket) float64 { return b.fresh }},
		layer{Key{"gen", "output"}, func(b bucket) float64 { return b.gen }})
	if r.Totals.Priced > 0 {
		tokens.Title = "Tokens and cost"
		s.rising(&tokens, Key{"cost", "cost so far"}, func(v float64) string { return r.Prices.Money(v) }, func(b bucket) float64 { return b.cost })
	}
	return append(all, tokens)
}
