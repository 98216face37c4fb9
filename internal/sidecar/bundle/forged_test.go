package bundle

import (
	"bytes"
	"strings"
	"testing"

	"github.com/bot-bottle/bot-bottle/internal/policy"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// Attack G12: an agent that owns the supervise service hands in a push that git-gate never
// saw, for the operator to approve; an edit is to put in a credential that there is none of.
func TestAttackG12_WhatTheGateDidNotSayIsNoPush(t *testing.T) {
	api := newOperator(config(t), nil, newLog(new(bytes.Buffer), config(t), func(error) {}))
	close(api.log.begun)
	_, err := api.Ask(t.Context(), requests.Ask{Kind: requests.Pushing, Push: &requests.Push{
		Repository: "widget", Upstream: "https://github.com/acme/widget", Updates: []policy.RefUpdate{{Ref: "refs/heads/main", New: strings.Repeat("1", 40)}},
	}})
	if err == nil || !strings.Contains(err.Error(), "with git push") || len(api.ledger.All()) != 0 {
		t.Errorf("got %v, and %d requests", err, len(api.ledger.All()))
	}
	r, err := api.Ask(t.Context(), requests.Ask{Kind: requests.Egress, Route: &policy.Route{Host: "docs.example"}})
	if err != nil {
		t.Fatal(err)
	}
	change := requests.Change{Routes: []policy.Route{{Host: "docs.example", Auth: &policy.Auth{Scheme: policy.Bearer, Secret: "NOT_THERE"}}}}
	if _, err := api.Edit(r.ID, api.shown(r).Digest, change); err == nil || !strings.Contains(err.Error(), `has no secret "NOT_THERE"`) {
		t.Errorf("got %v", err)
	}
}
