package pipelock

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// HealthPath is where Settings.Health says whether pipelock is well.
const HealthPath = "/health"

// Settings are what of the configuration is of one run. Addresses are of loopback.
type Settings struct {
	Order
	Scan, Health, Metrics string // host:port
}

// InContainer are the settings of a pipelock that has a loopback of its own.
func InContainer() Settings {
	return Settings{Scan: "127.0.0.1:9090", Health: "127.0.0.1:8888", Metrics: "127.0.0.1:9091"}
}

// Config is pipelock's whole configuration, every key of it that matters said in so many
// words: nothing is left to a default that another version may change, and none of its
// presets is used, which report crashes to their maker.
func (s Settings) Config() []byte {
	return fmt.Appendf(nil, template, words(s.Hosts), s.Health, s.Metrics, s.Scan, words([]string{s.Token}))
}

// words are a list in YAML's flow style, which reads JSON.
func words(all []string) string {
	if all == nil {
		all = []string{}
	}
	data, err := json.Marshal(all)
	if err != nil {
		panic(err) // strings can be marshalled
	}
	return string(data)
}

const template = `version: 1
mode: strict
enforce: true
explain_blocks: false
api_allowlist: %s
fetch_proxy:
  listen: %q
  timeout_seconds: 5
  max_response_mb: 1
  monitoring: {max_url_length: 8192, entropy_threshold: 5.5, max_requests_per_minute: 1000000, max_data_per_minute: 0, blocklist: []}
forward_proxy: {enabled: false}
websocket_proxy: {enabled: false}
tls_interception: {enabled: false}
request_body_scanning: {enabled: true, action: block, max_body_bytes: 1048576, scan_headers: true, header_mode: all}
dlp: {scan_env: false, include_defaults: true}
response_scanning: {enabled: true, action: block, include_defaults: true}
mcp_input_scanning: {enabled: true, action: block, on_parse_error: block}
seed_phrase_detection: {enabled: true, min_words: 12, verify_checksum: true}
internal: []
sentry: {enabled: false}
metrics_listen: %q
scan_api:
  listen: %q
  auth: {bearer_tokens: %s}
  rate_limit: {requests_per_minute: 60000, burst: 1000}
  max_body_bytes: 1048576
  field_limits: {url: 8192, text: 262144, content: 262144, arguments: 262144}
  timeouts: {read: "5s", write: "15s", scan: "5s"}
  connection_limit: 64
  kinds: {url: true, dlp: true, prompt_injection: true, tool_call: true}
logging: {format: json, output: stdout, include_allowed: false, include_blocked: true}
`

// Allowlist are hosts of routes as pipelock takes them: sorted, each once, a wildcard of any
// depth as its only one. What exactly is allowed egress has decided before.
func Allowlist(hosts []string) []string {
	all := make([]string, 0, len(hosts))
	for _, host := range hosts {
		if rest, deep := strings.CutPrefix(host, "**."); deep {
			host = "*." + rest
		}
		all = append(all, strings.ToLower(host))
	}
	slices.Sort(all)
	return slices.Compact(all)
}
