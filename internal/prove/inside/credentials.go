package inside

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// credentials are what the bottle is not to have, and what must not travel.
func credentials() []Attack {
	return []Attack{
		{"C1", "own key", "a key of the agent's own does not travel beside ours, nor in its place", hasProxy, ownKey},
		{"C3", "echo", "a credential that the upstream echoes is masked, in plain, base64 and hex", hasCanary, echo},
		{"C6", "own host", "the placeholder does not leave in the head of a request to its own host either, where it is not replaced", hasPlaceholder, unreplaced},
		{"C7", "placeholder", "the credential's placeholder does not leave for another host, in any spelling", hasPlaceholder, placeholder},
		{"C10", "canary", "no byte of the real credential is in the bottle: not in a file, an environment or an argument", hasCanary, searched},
		{"C13", "keys", "no private key is in the bottle", nil, privateKeys},
	}
}

func hasCanary(a *Arena) bool { return a.Canary.Prefix != "" }

func hasPlaceholder(a *Arena) bool { return hasProxy(a) && os.Getenv(a.Placeholder) != "" }

// in reports whether text holds the canary itself.
func (c Canary) in(text []byte) bool {
	for rest := text; ; {
		at := bytes.Index(rest, []byte(c.Prefix))
		if at < 0 {
			return false
		}
		rest = rest[at:]
		if len(rest) >= c.Length {
			sum := sha256.Sum256(rest[:c.Length])
			if hex.EncodeToString(sum[:]) == c.SHA256 {
				return true
			}
		}
		rest = rest[1:]
	}
}

func ownKey(ctx context.Context, a *Arena) []Attempt {
	got := ask(ctx, a, a.Allowed, a.Allowed, request("GET", "/open/echo?key=attacker-1&x=1", a.Allowed,
		"Authorization: Bearer attacker-2\r\n", "x-api-key: attacker-3\r\n", "X-Api-Key: attacker-4\r\n", "api-key: attacker-5\r\n", "Cookie: session=attacker-6\r\n", "Proxy-Authorization: Basic attacker-7\r\n"))
	if got.err != nil {
		return []Attempt{{"a request with seven keys of one's own", got.err.Error(), true}}
	}
	arrived := regexp.MustCompile(`attacker-[0-9]`).FindAllString(got.body, -1)
	return []Attempt{{"a request with seven keys of one's own", fmt.Sprintf("status %d; the upstream got of them: %s", got.status, strings.Join(arrived, ", ")), len(arrived) == 0}}
}

// echo has the upstream send back what it was sent.
func echo(ctx context.Context, a *Arena) (all []Attempt) {
	for as, decode := range map[string]func(string) ([]byte, error){
		"plain": func(s string) ([]byte, error) { return []byte(s), nil }, "base64": base64.StdEncoding.DecodeString, "hex": hex.DecodeString,
	} {
		got := ask(ctx, a, a.Allowed, a.Allowed, request("GET", "/open/echo?as="+as, a.Allowed))
		if got.err != nil {
			all = append(all, Attempt{"an echo in " + as, got.err.Error(), true})
			continue
		}
		data, err := decode(strings.TrimSpace(got.body))
		if err != nil {
			data = []byte(got.body)
		}
		all = append(all, Attempt{"an echo in " + as, fmt.Sprintf("status %d, canary in it: %t", got.status, a.Canary.in(data)), !a.Canary.in(data)})
	}
	return all
}

// placeholder is sent to a host that it is not bound to.
func placeholder(ctx context.Context, a *Arena) (all []Attempt) {
	value := os.Getenv(a.Placeholder)
	half := len(value) / 2
	base := "/open/hello?bucket=ours"
	post := func(body, kind string) string {
		return request("POST", "/open/post?bucket=ours", a.Other, fmt.Sprintf("Content-Type: %s\r\nContent-Length: %d\r\n", kind, len(body))) + body
	}
	reversed := []rune(value)
	for i, j := 0, len(reversed)-1; i < j; i, j = i+1, j-1 {
		reversed[i], reversed[j] = reversed[j], reversed[i]
	}
	for _, c := range []struct{ what, raw string }{
		{"in a header", request("GET", base, a.Other, "X-Note: "+value+"\r\n")},
		{"in the query", request("GET", base+"&n="+url.QueryEscape(value), a.Other)},
		{"in the path", request("GET", "/open/"+url.PathEscape(value)+"?bucket=ours", a.Other)},
		{"percent-encoded", request("GET", base+"&n="+percent(value), a.Other)},
		{"in base64", request("GET", base, a.Other, "X-Note: "+base64.StdEncoding.EncodeToString([]byte("x"+value))+"\r\n")},
		{"in hex", request("GET", base+"&n="+hex.EncodeToString([]byte(value)), a.Other)},
		{"in two headers", request("GET", base, a.Other, "X-A: "+value[:half]+"\r\n", "X-B: "+value[half:]+"\r\n")},
		{"in a form", post("n="+url.QueryEscape(value), "application/x-www-form-urlencoded")},
		{"in JSON", post(`{"n": "`+value+`"}`, "application/json")},
		{"in JSON, as escapes", post(`{"n": "`+escapes(value)+`"}`, "application/json")},
		{"in JSON, in parts", post(`{"n": ["`+value[:half]+`", "`+value[half:]+`"]}`, "application/json")},
		{"backwards", post(string(reversed), "text/plain")},
		{"in base64 of hex", post(base64.StdEncoding.EncodeToString([]byte(hex.EncodeToString([]byte(value)))), "text/plain")},
	} {
		all = append(all, refused("send it "+c.what, notFromUpstream(ask(ctx, a, a.Other, a.Other, c.raw))))
	}
	return append(all, works("a request to that host without it", expect(ask(ctx, a, a.Other, a.Other, request("GET", base, a.Other)), "hello")))
}

// unreplaced is sent to the host that it stands for a credential of, where that does not go. (In
// a body it may: what an agent tells of its environment is no leak to whom the credential is of.)
func unreplaced(ctx context.Context, a *Arena) (all []Attempt) {
	value := os.Getenv(a.Placeholder)
	for _, c := range []struct{ what, raw string }{
		{"in a header of another name", request("GET", "/open/hello", a.Allowed, "X-Note: "+value+"\r\n")},
		{"in the query", request("GET", "/open/hello?n="+url.QueryEscape(value), a.Allowed)},
		{"in the path", request("GET", "/open/"+url.PathEscape(value), a.Allowed)},
	} {
		all = append(all, refused("send it "+c.what, notFromUpstream(ask(ctx, a, a.Allowed, a.Allowed, c.raw))))
	}
	return append(all, works("a request to that host without it", expect(ask(ctx, a, a.Allowed, a.Allowed, request("GET", "/open/hello", a.Allowed)), "hello")))
}

func percent(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		_, _ = fmt.Fprintf(&b, "%%%02x", c)
	}
	return b.String()
}

func escapes(s string) string {
	var b strings.Builder
	for _, r := range s {
		_, _ = fmt.Fprintf(&b, `\u%04x`, r)
	}
	return b.String()
}

// Bounds of a search, in bytes.
const (
	largestFile = 64 << 20
	mostRead    = 4 << 30
)

// searched reads every file that can be read, and what the kernel tells of processes.
func searched(ctx context.Context, a *Arena) []Attempt {
	var found []string
	var read int64
	look := func(path string) {
		data, err := os.ReadFile(path)
		if read += int64(len(data)); err == nil && a.Canary.in(data) {
			found = append(found, path)
		}
	}
	files := 0
	err := walk(ctx, []string{"/"}, func(path string, info fs.FileInfo) error {
		if info.Size() > largestFile || read > mostRead {
			return nil
		}
		files++
		look(path)
		return nil
	})
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range processes {
		look(p + "/environ")
		look(p + "/cmdline")
	}
	happened := fmt.Sprintf("%d files, %d processes, %d MB; found in: %s", files, len(processes), read>>20, strings.Join(found, ", "))
	return []Attempt{{"read everything", happened + errorOf(err), len(found) == 0 && files > 100}}
}

func errorOf(err error) string {
	if err == nil {
		return ""
	}
	return " (" + err.Error() + ")"
}

// walk calls f for each regular file below the directories but the kernel's own.
func walk(ctx context.Context, dirs []string, f func(string, fs.FileInfo) error) (err error) {
	for _, dir := range dirs {
		err = errors.Join(err, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || path == "/proc" || path == "/sys" || path == "/dev" {
				if d != nil && d.IsDir() {
					return filepath.SkipDir
				}
				return nil
			}
			info, err := d.Info()
			if err != nil || !info.Mode().IsRegular() {
				return ctx.Err()
			}
			return errors.Join(ctx.Err(), f(path, info))
		}))
	}
	return err
}

// pem is a key with something in it: programs hold the line before it as a word.
var pem = regexp.MustCompile(`-----BEGIN ([A-Z]+ )?PRIVATE KEY-----\s+[A-Za-z0-9+/=]{32}`)

func privateKeys(ctx context.Context, _ *Arena) []Attempt {
	var found []string
	err := walk(ctx, []string{"/etc", "/run", "/opt/bot-bottle", "/home", "/root", "/workspace", "/tmp", "/var"}, func(path string, info fs.FileInfo) error {
		if info.Size() > 1<<20 {
			return nil
		}
		if data, err := os.ReadFile(path); err == nil && pem.Match(data) {
			found = append(found, path)
		}
		return nil
	})
	return []Attempt{{"look for private keys", "found: " + strings.Join(found, ", ") + errorOf(err), len(found) == 0}}
}
