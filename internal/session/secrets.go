package session

import (
	"context"
	"errors"

	"github.com/bot-bottle/bot-bottle/internal/dlp"
	"github.com/bot-bottle/bot-bottle/internal/secret"
)

// mostSearches bounds how often a transcript is searched again for more than one search
// tells of.
const mostSearches = 16

// FindSecrets finds what must not be written down.
func FindSecrets(ctx context.Context, data []byte, secrets map[string]secret.Value) (found [][2]int, err error) {
	var known []dlp.Value
	for name, value := range secrets {
		known = append(known, dlp.Value{Name: name, Secret: []byte(value.Reveal())})
	}
	scanner, err := dlp.New(dlp.Options{Known: known, CacheSize: -1})
	if err != nil {
		return nil, err
	}
	for range mostSearches {
		findings, err := scanner.Scan(ctx, dlp.Input{Kind: dlp.Body, ContentType: "text/plain", Data: data})
		if err != nil && !errors.Is(err, dlp.ErrBudget) {
			return nil, err
		}
		more := false
		for _, f := range findings {
			if f.Start >= 0 && f.Rule != dlp.RuleAssigned {
				found, more = append(found, [2]int{f.Start, f.End}), true
				for i := f.Start; i < f.End; i++ {
					data[i] = '*'
				}
			}
		}
		if !more {
			return found, nil
		}
	}
	return found, nil
}
