package main

import (
	"encoding/base64"
	"net/url"
	"regexp"
	"strings"
)

// rule is one of a handful that are enough for tests.
type rule struct {
	name    string
	pattern *regexp.Regexp
}

func rules() []rule {
	return []rule{
		{"AWS Access ID", regexp.MustCompile(`(?i)AKIA[0-9A-Z]{16}`)},
		{"GitHub Token", regexp.MustCompile(`(?i)gh[pousr]_[A-Za-z0-9]{36}`)},
		{"Anthropic API Key", regexp.MustCompile(`(?i)sk-ant-[a-z0-9-]{10,}`)},
		{"Stand-in Word", regexp.MustCompile(`standin-finding-[a-z]+`)}, // that no other scanner knows
	}
}

// look decides as the real one does: newlines go, a segment between two spaces may be
// base64, and a host must be on the list.
func (s *scanner) look(kind, text string) (found []finding) {
	if kind == "url" {
		u, err := url.Parse(text)
		if err != nil || !s.allowed(u.Hostname()) {
			return []finding{{Scanner: "url", Rule: "URL-allowlist", Severity: "high", Message: "not in allowlist"}}
		}
		for _, r := range rules() {
			if r.pattern.MatchString(text) {
				found = append(found, finding{Scanner: "url", Rule: "DLP-URL-Exfil", Severity: "critical", Message: "DLP match: " + r.name})
			}
		}
		return found
	}
	if kind == "prompt_injection" {
		return s.lookForOrders(text)
	}
	text = strings.ReplaceAll(text, "\n", "")
	for _, r := range rules() {
		if r.pattern.MatchString(text) {
			found = append(found, dlpFinding(r, "plaintext"))
		}
		for segment := range strings.SplitSeq(text, " ") {
			plain, err := base64.StdEncoding.DecodeString(segment)
			if err == nil && r.pattern.Match(plain) {
				found = append(found, dlpFinding(r, "base64"))
			}
		}
	}
	return found
}

// lookForOrders knows one order in many words, and finds nothing where it is configured so.
func (s *scanner) lookForOrders(text string) []finding {
	if !s.config.ResponseScanning.Enabled || !orders.MatchString(text) {
		return nil
	}
	return []finding{{"response", "INJ-Prompt Injection", "high", "Injection pattern detected", &evidence{"plaintext"}}}
}

var orders = regexp.MustCompile(`(?i)ignore\s+(all\s+)?previous\s+instructions`)

func dlpFinding(r rule, encoding string) finding {
	return finding{"dlp", "DLP-" + r.name, "critical", "Secret-like token detected (" + r.name + ")", &evidence{encoding}}
}

func (s *scanner) allowed(host string) bool {
	for _, pattern := range s.config.APIAllowlist {
		if rest, wild := strings.CutPrefix(pattern, "*"); host == pattern || wild && strings.HasSuffix(host, rest) {
			return true
		}
	}
	return false
}
