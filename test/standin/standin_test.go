package standin

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// open starts a stand-in and returns it with a client that trusts it and takes its
// address for the host's.
func open(t *testing.T, o Options) (*Server, *http.Client) {
	t.Helper()
	o.Listen = "127.0.0.1:0"
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(s.CA)) {
		t.Fatal("the CA is not PEM")
	}
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, s.Address)
		},
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := s.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return s, &http.Client{Transport: transport}
}

// send makes a request with a header, and returns the answer with its body.
func send(t *testing.T, c *http.Client, method, path, header, value, body string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "https://"+Host+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set(header, value)
	response, err := c.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	all, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(all)
}

// events reads a stream and returns the kinds of its events and the text of its deltas.
func events(t *testing.T, body string) (kinds []string, text string) {
	t.Helper()
	for lines := bufio.NewScanner(strings.NewReader(body)); lines.Scan(); {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var event struct {
			Type  string
			Delta struct {
				Text    string
				Partial string `json:"partial_json"`
			}
		}
		if err := json.Unmarshal([]byte(data), &event); err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, event.Type)
		text += event.Delta.Text + event.Delta.Partial
	}
	return kinds, text
}

func TestStream(t *testing.T) {
	s, client := open(t, Options{Answer: "three short words", Key: "real"})
	response, body := send(t, client, "POST", "/v1/messages?beta=true", "X-Api-Key", "real", `{"model":"m","stream":true}`)
	kinds, text := events(t, body)
	want := "message_start content_block_start content_block_delta content_block_delta content_block_delta content_block_stop message_delta message_stop"
	if response.ProtoMajor != 2 || response.StatusCode != 200 || strings.Join(kinds, " ") != want || text != "three short words" {
		t.Errorf("got %v, %s, %v, %q", response.Proto, response.Status, kinds, text)
	}
	got := s.Requests()
	if len(got) != 1 || got[0].Path != "/v1/messages?beta=true" || got[0].Header.Get("X-Api-Key") != "real" {
		t.Errorf("got %v", got)
	}
}

func TestOneAnswer(t *testing.T) {
	_, client := open(t, Options{Answer: "all at once"})
	_, body := send(t, client, "POST", "/v1/messages", "X-Api-Key", "any", `{"model":"m"}`)
	var message struct {
		Content []struct{ Text string }
	}
	if err := json.Unmarshal([]byte(body), &message); err != nil || len(message.Content) != 1 || message.Content[0].Text != "all at once" {
		t.Errorf("got %s, %v", body, err)
	}
}

func TestOnlyTheKeyIsLetIn(t *testing.T) {
	_, client := open(t, Options{Key: "real"})
	for _, c := range []struct {
		header, value string
		want          int
	}{
		{"X-Api-Key", "real", 200}, {"Authorization", "Bearer real", 200},
		{"X-Api-Key", "placeholder", 401}, {"Authorization", "Bearer placeholder", 401}, {"X-Other", "real", 401},
	} {
		response, body := send(t, client, "POST", "/v1/messages/count_tokens", c.header, c.value, "{}")
		if response.StatusCode != c.want || c.want == 401 && !strings.Contains(body, "authentication_error") {
			t.Errorf("%s: %s: got %s %s", c.header, c.value, response.Status, body)
		}
	}
}

func TestToolThenAnswer(t *testing.T) {
	_, client := open(t, Options{Answer: "done", Tool: "id -un"})
	_, body := send(t, client, "POST", "/v1/messages", "X-Api-Key", "k", `{"stream":true,"tools":[{"name":"Bash"}],"messages":[]}`)
	if _, text := events(t, body); !strings.Contains(text, `"command":"id -un"`) || !strings.Contains(body, `"stop_reason":"tool_use"`) {
		t.Errorf("got %s", body)
	}
	_, body = send(t, client, "POST", "/v1/messages", "X-Api-Key", "k", `{"stream":true,"tools":[{"name":"Bash"}],"messages":[{"content":[{"type":"tool_result"}]}]}`)
	if _, text := events(t, body); text != "done" {
		t.Errorf("got %s", body)
	}
}

func TestOtherPaths(t *testing.T) {
	var log bytes.Buffer
	s, client := open(t, Options{Log: &log})
	for path, want := range map[string]int{"/": 200, "/v1/nothing": 404} {
		if response, body := send(t, client, "GET", path, "X-Api-Key", "k", ""); response.StatusCode != want {
			t.Errorf("%s: got %s %s", path, response.Status, body)
		}
	}
	if n := len(s.Requests()); n != 2 || strings.Count(log.String(), "\n") != 2 {
		t.Errorf("got %d, %s", n, log.String())
	}
}
