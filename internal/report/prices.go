package report

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/audit"
)

//go:embed prices.json
var listPrices []byte

// Prices say what a million tokens cost. They are an estimate by nature: a contract, a
// batch, or what was written to a cache may cost something else.
type Prices struct {
	AsOf       string           `json:"as_of"`
	Source     string           `json:"source"`
	Currency   string           `json:"currency"`
	PerMillion map[string]Price `json:"per_million"` // by model, without a date at its end
}

// Price of one model, for a million tokens each.
type Price struct {
	In     float64 `json:"in"`     // not from a cache
	Cached float64 `json:"cached"` // from a cache
	Out    float64 `json:"out"`
}

// ListPrices are those that come with the program.
func ListPrices() Prices {
	p, err := ReadPrices(bytes.NewReader(listPrices))
	if err != nil {
		panic(err) // a test reads them
	}
	return p
}

// ReadPrices reads a table in the form of prices.json.
func ReadPrices(r io.Reader) (Prices, error) {
	decoder := json.NewDecoder(r)
	decoder.DisallowUnknownFields()
	var p Prices
	if err := decoder.Decode(&p); err != nil {
		return p, fmt.Errorf("cannot read the prices: %w", err)
	}
	if p.AsOf == "" || p.Currency == "" || len(p.PerMillion) == 0 {
		return p, errors.New("the prices need as_of, currency and per_million")
	}
	for model, price := range p.PerMillion {
		if price.In < 0 || price.Cached < 0 || price.Out < 0 {
			return p, fmt.Errorf("a price of %s is negative", model)
		}
	}
	return p, nil
}

// Cost of an answer; false when there is no price of its model. A model is named as in the
// table, or with a date after it: claude-opus-4-5 is not claude-opus-4.
func (p Prices) Cost(u audit.Usage) (float64, bool) {
	price, ok := p.PerMillion[undated(u.Model)]
	if !ok {
		return 0, false
	}
	fresh := max(0, u.TokensIn-u.TokensCached)
	return (float64(fresh)*price.In + float64(u.TokensCached)*price.Cached + float64(u.TokensOut)*price.Out) / 1e6, true
}

// Money is a sum in words: of small ones the digits that say something.
func (p Prices) Money(v float64) string {
	digits := 2
	if v > 0 && v < 1 {
		digits = 4
	}
	return fmt.Sprintf("%.*f %s", digits, v, plain(p.Currency))
}

func undated(model string) string {
	base, date, found := cutLast(model, "-")
	if found && (date == "latest" || len(date) == 8 && strings.Trim(date, "0123456789") == "") {
		return base
	}
	return model
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
