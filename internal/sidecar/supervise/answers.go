package supervise

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/bot-bottle/bot-bottle/internal/control"
	"github.com/bot-bottle/bot-bottle/internal/requests"
)

// requestText says how far a request is, and what to do next.
func requestText(r requests.Request) string {
	switch r.State {
	case requests.Pending:
		if r.Again != "" {
			return fmt.Sprintf("%s was approved, and waits for the operator again: %s. Go on with something else, and call check_request with id %s.", r.ID, strings.TrimSuffix(r.Again, "."), r.ID)
		}
		return fmt.Sprintf("%s waits for the operator. Go on with something else, and call check_request with id %s.", r.ID, r.ID)
	case requests.Approved:
		if r.Kind == requests.Pushing {
			return pushText(r)
		}
		if !r.Grant.Ended.IsZero() {
			return fmt.Sprintf("%s was approved and has ended: %s. Ask again if you need it again.", r.ID, r.Grant.Why)
		}
		if r.Kind == requests.Capability {
			return r.ID + " is approved: this machine has it since its last restart, or will have it with the next."
		}
		edited := ""
		if r.Edited {
			edited = " The operator changed what you asked for; this is what you have:"
		}
		return fmt.Sprintf("%s is approved, %s.%s%s Try again what was refused.", r.ID, ending(r.Grant), edited, grantedText(r))
	case requests.Answered:
		return fmt.Sprintf("%s is answered: %s", r.ID, r.Decided.Answer)
	case requests.Rejected:
		return fmt.Sprintf("%s is rejected%s. Find another way; do not ask for the same again.", r.ID, because(r.Decided.Reason))
	}
	return fmt.Sprintf("%s is %s.", r.ID, r.State)
}

// pushText says what became of an approved push.
func pushText(r requests.Request) string {
	switch r.Decided.Result {
	case "":
		return r.ID + " is approved, and on its way upstream."
	case control.Forwarded:
		return r.ID + " is approved, and upstream has it: git fetch shows it."
	}
	return fmt.Sprintf("%s was approved, but nothing was pushed: %s", r.ID, r.Decided.Result)
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + strings.TrimSuffix(reason, ".")
}

func grantedText(r requests.Request) string {
	if r.Git == nil {
		return routesText(r)
	}
	text := fmt.Sprintf(" Use plain git with %s, or with %s%s if a tool does not find it.", r.Git.Upstream, control.GateURL, r.Git.Repository)
	if len(r.Git.Push.Refs) > 0 {
		text += fmt.Sprintf(" You may %s.", r.Git.Push)
	}
	return text
}

func routesText(r requests.Request) string {
	var b strings.Builder
	for _, route := range r.Routes {
		fmt.Fprintf(&b, " %s;", route)
	}
	return b.String()
}

// outcome is what a tool returns as data. Some clients show the model this, and not the
// text, so the words are in it.
type outcome struct {
	Summary  string             `json:"summary"`
	Request  *requests.Request  `json:"request,omitempty"`
	Requests []requests.Request `json:"requests,omitempty"`
	Policy   *control.Allowance `json:"policy,omitempty"`
}

func said(o outcome) (*mcp.CallToolResult, any, error) {
	structured, err := json.Marshal(o)
	if err != nil {
		return nil, nil, err
	}
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: o.Summary}}, StructuredContent: json.RawMessage(structured)}, nil, nil
}
