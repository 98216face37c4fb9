package egress

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/audit"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// notice is what a refused client reads. All of it is bounded and has no character that a
// terminal acts on: an agent shows it to the operator.
type notice struct {
	Error   string        `json:"error"`  // for programs
	Reason  string        `json:"reason"` // for people
	Hint    string        `json:"hint,omitempty"`
	Bottle  string        `json:"bottle"`
	Request noticeRequest `json:"request"`
	Ask     *noticeAsk    `json:"ask,omitempty"` // the call of the operator's MCP server that asks for it
}

type noticeAsk struct {
	Tool      string         `json:"tool"`
	Arguments map[string]any `json:"arguments"` // but why, which the agent knows
}

type noticeRequest struct {
	Method string `json:"method"`
	Host   string `json:"host"`
	Port   int    `json:"port,omitempty"`
	Path   string `json:"path,omitempty"` // of a CONNECT there is none
}

// notice tells what was refused, why, and what can be done about it.
func (s *Server) notice(r *http.Request, no refusal) notice {
	n := notice{
		Error: no.code, Reason: audit.Clean(no.reason), Bottle: s.bottle,
		Request: noticeRequest{Method: audit.Clean(r.Method), Host: audit.Clean(no.host), Port: no.port},
	}
	n.Hint = s.hint(n.Request, no)
	if r.Method != http.MethodConnect {
		n.Request.Path = audit.Clean(r.URL.EscapedPath())
	}
	if s.supervised {
		n.ask(no)
	}
	return n
}

// ask makes the call ready, where one can help. It holds nothing of the bottle's that is not
// what it seems: the same is checked as for a route.
func (n *notice) ask(no refusal) {
	if no.over != nil {
		n.askMore(no)
		return
	}
	host, err := policy.ParseHost(n.Request.Host)
	if err != nil || no.code != "egress_denied" || n.Request.Port == 0 {
		return
	}
	arguments := map[string]any{"host": host, "port": n.Request.Port}
	route := policy.Route{Host: host, Port: n.Request.Port, Protocol: no.protocol}
	if no.protocol != "" {
		arguments["protocol"] = no.protocol
	}
	if route.Methods = []string{n.Request.Method}; n.Request.Method != http.MethodConnect && fits(route) {
		arguments["methods"] = route.Methods
	}
	route.Methods = nil
	if route.Paths = []string{n.Request.Path}; n.Request.Path != "" && !strings.Contains(n.Request.Path, "*") && fits(route) {
		arguments["paths"] = route.Paths
	}
	n.Ask = &noticeAsk{"request_egress", arguments}
	n.Hint = fmt.Sprintf("If you need it, call %s of the MCP server \"operator\", with the arguments in ask and why you need it. %s", n.Ask.Tool, strings.TrimPrefix(n.Hint, askOperator))
}

// askMore makes the call ready that asks for as much again of a limit that is used up. Of what was
// granted for a number of uses there is no more: that is asked for anew.
func (n *notice) askMore(no refusal) {
	if no.over.Limits == nil || no.route == nil || no.route.Grant != "" && !no.over.Bottle {
		return
	}
	arguments := map[string]any{}
	if !no.over.Bottle {
		arguments["host"] = no.route.Host
	}
	switch no.over.What {
	case "requests":
		arguments["requests"] = no.over.Limits.Requests
	case "bytes up":
		arguments["bytes_up"] = no.over.Limits.BytesUp
	default:
		arguments["bytes_down"] = no.over.Limits.BytesDown
	}
	n.Ask = &noticeAsk{"request_limit", arguments}
	n.Hint = "If you cannot wait, call request_limit of the MCP server \"operator\", with the arguments in ask, or less, and why you need it. " + n.Hint
}

func fits(r policy.Route) bool {
	_, err := r.Normalize()
	return err == nil
}

// hint is what the agent may do. What of it the operator might paste into a shell holds no
// text of the bottle's but a host and a method that were found to be such.
func (s *Server) hint(asked noticeRequest, no refusal) string {
	switch no.code {
	case "egress_denied":
		return s.hintAllow(asked, no.protocol)
	case "address_denied":
		return "Only the operator can let this route lead there, with private: true or address: on it, in egress.routes of the bottle's manifest. Ask for that; trying again does not help."
	case "secret_leak":
		return "Send it without the secret: encoded or in parts it is refused as well. If it must go there, ask the operator, who sets what becomes of findings with scan: on the route, in egress.routes of the bottle's manifest."
	case "placeholder_not_replaced":
		return "Put the placeholder where the credential belongs, as it stands, or leave it out: egress puts the real credential on. Where that goes is set by auth: on the route, in egress.routes of the bottle's manifest."
	case "not_inspectable":
		return "Send it in another form, as the reason says: what cannot be searched is refused on every route, so no rule can allow it, unless the reason names what the operator can write."
	case "limit_reached":
		return "Wait as long as Retry-After says, if it is there, else ask the operator, who sets limits: for the route or for all of egress in the bottle's manifest."
	case "authority_mismatch":
		return "Open a connection of its own for each host: a request must be for the host that its connection is to."
	case "upstream_unreachable":
		return "The policy allows this; it was the upstream that failed. Trying again later may help."
	case "upstream_proxy_failed":
		return "The policy allows this; the operator's proxy failed, which egress.upstream_proxy in the bottle's manifest names. Trying again later may help, else tell the operator."
	case "bad_target", "not_a_proxy_request":
		return "Write the host as a name, as in https://host.example/path."
	}
	return ""
}

// askOperator is for who has no tool to ask with.
const askOperator = "If you need it, ask the operator. "

func (s *Server) hintAllow(asked noticeRequest, protocol policy.Protocol) string {
	host, err := policy.ParseHost(asked.Host)
	if err != nil || asked.Port == 0 {
		return "This bottle reaches only what egress.routes in its manifest lists, by name. Ask the operator for what you need."
	}
	where, route := host, "host: "+host
	if protocol != policy.HTTP && asked.Port != 443 || protocol == policy.HTTP && asked.Port != 80 {
		where, route = fmt.Sprintf("%s:%d", host, asked.Port), fmt.Sprintf("host: %s, port: %d", host, asked.Port)
	}
	if protocol == policy.HTTP {
		where, route = where+" --protocol http", route+", protocol: http"
	}
	if m := asked.Method; m != http.MethodConnect && m != "" && len(m) <= 20 && strings.Trim(m, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "" {
		where, route = where+" --method "+m, route+", methods: ["+m+"]"
	}
	return fmt.Sprintf(askOperator+"On the host, this allows it while the bottle runs: bot-bottle egress %s allow %s. For good: {%s} under egress.routes in the bottle's manifest. Deny rules win over both.", s.bottle, where, route)
}
