package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"time"

	"github.com/goccy/go-yaml"
)

// config is all that the configuration must say: each key must be there, and no other.
type config struct {
	Version       int      `yaml:"version"`
	Mode          string   `yaml:"mode"`
	Enforce       bool     `yaml:"enforce"`
	ExplainBlocks bool     `yaml:"explain_blocks"`
	APIAllowlist  []string `yaml:"api_allowlist"`
	FetchProxy    struct {
		Listen         string `yaml:"listen"`
		TimeoutSeconds int    `yaml:"timeout_seconds"`
		MaxResponseMB  int    `yaml:"max_response_mb"`
		Monitoring     struct {
			MaxURLLength         int      `yaml:"max_url_length"`
			EntropyThreshold     float64  `yaml:"entropy_threshold"`
			MaxRequestsPerMinute int      `yaml:"max_requests_per_minute"`
			MaxDataPerMinute     int      `yaml:"max_data_per_minute"`
			Blocklist            []string `yaml:"blocklist"`
		} `yaml:"monitoring"`
	} `yaml:"fetch_proxy"`
	ForwardProxy        enabled `yaml:"forward_proxy"`
	WebSocketProxy      enabled `yaml:"websocket_proxy"`
	TLSInterception     enabled `yaml:"tls_interception"`
	RequestBodyScanning struct {
		Enabled      bool   `yaml:"enabled"`
		Action       string `yaml:"action"`
		MaxBodyBytes int    `yaml:"max_body_bytes"`
		ScanHeaders  bool   `yaml:"scan_headers"`
		HeaderMode   string `yaml:"header_mode"`
	} `yaml:"request_body_scanning"`
	DLP struct {
		ScanEnv         bool `yaml:"scan_env"`
		IncludeDefaults bool `yaml:"include_defaults"`
	} `yaml:"dlp"`
	ResponseScanning struct {
		Enabled         bool   `yaml:"enabled"`
		Action          string `yaml:"action"`
		IncludeDefaults bool   `yaml:"include_defaults"`
	} `yaml:"response_scanning"`
	MCPInputScanning struct {
		Enabled      bool   `yaml:"enabled"`
		Action       string `yaml:"action"`
		OnParseError string `yaml:"on_parse_error"`
	} `yaml:"mcp_input_scanning"`
	SeedPhraseDetection struct {
		Enabled        bool `yaml:"enabled"`
		MinWords       int  `yaml:"min_words"`
		VerifyChecksum bool `yaml:"verify_checksum"`
	} `yaml:"seed_phrase_detection"`
	Internal      []string `yaml:"internal"`
	Sentry        enabled  `yaml:"sentry"`
	MetricsListen string   `yaml:"metrics_listen"`
	ScanAPI       struct {
		Listen string `yaml:"listen"`
		Auth   struct {
			BearerTokens []string `yaml:"bearer_tokens"`
		} `yaml:"auth"`
		RateLimit struct {
			RequestsPerMinute int `yaml:"requests_per_minute"`
			Burst             int `yaml:"burst"`
		} `yaml:"rate_limit"`
		MaxBodyBytes int `yaml:"max_body_bytes"`
		FieldLimits  struct {
			URL       int `yaml:"url"`
			Text      int `yaml:"text"`
			Content   int `yaml:"content"`
			Arguments int `yaml:"arguments"`
		} `yaml:"field_limits"`
		Timeouts struct {
			Read  duration `yaml:"read"`
			Write duration `yaml:"write"`
			Scan  duration `yaml:"scan"`
		} `yaml:"timeouts"`
		ConnectionLimit int             `yaml:"connection_limit"`
		Kinds           map[string]bool `yaml:"kinds"`
	} `yaml:"scan_api"`
	Logging struct {
		Format         string `yaml:"format"`
		Output         string `yaml:"output"`
		IncludeAllowed bool   `yaml:"include_allowed"`
		IncludeBlocked bool   `yaml:"include_blocked"`
	} `yaml:"logging"`
}

type enabled struct {
	Enabled bool `yaml:"enabled"`
}

type duration time.Duration

func (d *duration) UnmarshalYAML(data []byte) error {
	var text string
	if err := yaml.Unmarshal(data, &text); err != nil {
		return err
	}
	parsed, err := time.ParseDuration(text)
	*d = duration(parsed)
	return err
}

func readConfig(path string) (c config, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return c, err
	}
	if info.Mode().Perm()&0o007 != 0 {
		return c, fmt.Errorf("everybody may read %s", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return c, err
	}
	if err := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(&c); err != nil {
		return c, err
	}
	var said map[string]any
	if err := yaml.Unmarshal(data, &said); err != nil {
		return c, err
	}
	return c, errors.Join(complete(reflect.TypeOf(c), said, ""), c.check())
}

// complete finds the keys that are left to a default.
func complete(t reflect.Type, said map[string]any, at string) (err error) {
	for i := range t.NumField() {
		f := t.Field(i)
		key := f.Tag.Get("yaml")
		value, ok := said[key]
		if !ok {
			err = errors.Join(err, fmt.Errorf("%s%s is not said", at, key))
			continue
		}
		if inner, isMap := value.(map[string]any); isMap && f.Type.Kind() == reflect.Struct {
			err = errors.Join(err, complete(f.Type, inner, at+key+"."))
		}
	}
	return err
}

// check insists on what makes the service safe, and fit for a whole session.
func (c config) check() (err error) {
	for _, claim := range []struct {
		ok   bool
		what string
	}{
		{c.Version == 1 && c.Mode == "strict" && c.Enforce && !c.ExplainBlocks, "it must enforce, strictly, and quote nothing"},
		{c.Internal != nil && len(c.Internal) == 0, "internal must be an empty list, or it resolves names"},
		{!c.Sentry.Enabled, "crashes must not be reported"},
		{!c.DLP.ScanEnv && c.DLP.IncludeDefaults, "dlp must use its rules and no environment"},
		{!c.ForwardProxy.Enabled && !c.WebSocketProxy.Enabled && !c.TLSInterception.Enabled, "it must be no proxy"},
		{c.MCPInputScanning.Enabled, "tool_call must not allow all"},
		{c.ResponseScanning.Enabled && c.ResponseScanning.IncludeDefaults, "prompt_injection must not allow all"},
		{loopback.MatchString(c.FetchProxy.Listen) && loopback.MatchString(c.MetricsListen) && loopback.MatchString(c.ScanAPI.Listen), "it must listen on loopback"},
		{len(c.ScanAPI.Auth.BearerTokens) == 1 && token.MatchString(c.ScanAPI.Auth.BearerTokens[0]), "one token of 32 bytes is needed"},
		{c.ScanAPI.Timeouts.Write > c.ScanAPI.Timeouts.Scan && c.ScanAPI.Timeouts.Scan > 0, "write must exceed scan"},
		{c.ScanAPI.RateLimit.RequestsPerMinute >= 60000 && c.ScanAPI.RateLimit.Burst >= 1000, "the rate limit hits an ordinary session"},
	} {
		if !claim.ok {
			err = errors.Join(err, errors.New(claim.what))
		}
	}
	return err
}

var (
	loopback = regexp.MustCompile(`^127\.0\.0\.1:\d+$`)
	token    = regexp.MustCompile(`^[0-9a-f]{64}$`)
)
