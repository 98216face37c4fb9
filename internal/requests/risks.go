package requests

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/net/idna"

	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// risks are notes by rule, the worst first: what to look at before granting. They say
// nothing about what the agent said.
func risks(routes []policy.Route, now policy.Policy) []string {
	var notes []string
	note := func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); !slices.Contains(notes, text) {
			notes = append(notes, text)
		}
	}
	for _, r := range routes {
		hostRisks(r.Host, now, note)
		if r.Private {
			note("%s may be at a private address", r.Host)
		}
		if strings.HasPrefix(r.Host, "*") {
			note("%s is a wildcard: every host below %s", r.Host, strings.TrimLeft(r.Host, "*."))
		}
		routeRisks(r, near(now, r), note)
	}
	return notes
}

// hostRisks are about what a host is.
func hostRisks(host string, now policy.Policy, note func(string, ...any)) {
	if like := lookAlike(host, now); like != "" {
		note("%s looks like %s, which is allowed, and is another host", host, like)
	}
	if shown, ok := unicodeName(host); ok {
		note("%s is a name in another script: it shows as %q", host, shown)
	}
	if what := openHost(host); what != "" {
		note("%s: anybody can read or write there what they like (%s)", host, what)
	}
	if internal(host) {
		note("%s is a name for an internal network", host)
	}
}

// routeRisks compares with what the bottle may do at the same host.
func routeRisks(r policy.Route, have []policy.Route, note func(string, ...any)) {
	if r.Auth != nil && !slices.ContainsFunc(have, func(h policy.Route) bool { return h.Auth != nil && h.Auth.Secret == r.Auth.Secret }) {
		note("%s would be sent to %s, where it has not gone before", r.Auth.Secret, r.Host)
	}
	if r.Auth != nil && r.Auth.Scheme == policy.Query && !slices.ContainsFunc(have, func(h policy.Route) bool {
		return h.Auth != nil && h.Auth.Scheme == policy.Query && h.Auth.Secret == r.Auth.Secret
	}) {
		note("%s would stand in the address, which servers and proxies write into their logs", r.Auth.Secret)
	}
	if r.Protocol == policy.TCP {
		note("nobody looks at what goes over a tcp route: not for secrets either")
		return
	}
	for _, path := range r.Paths {
		if plain := policy.PlainGlob(path); plain != path {
			note("%s is not in plain letters: it stands for %s", path, plain)
		}
	}
	if writes := writing(r.Methods); writes != "" {
		switch {
		case r.Auth != nil:
			note("%s at %s, with the rights of %s", writes, r.Host, r.Auth.Secret)
		case slices.ContainsFunc(have, func(h policy.Route) bool { return writing(h.Methods) == "" }):
			note("%s at %s, where the bottle could only read so far", writes, r.Host)
		default:
			note("%s at %s: a way out for data", writes, r.Host)
		}
	}
	if r.Protocol == policy.HTTP {
		note("http is not encrypted: whoever carries it can read and change it")
	}
	if r.Port != 443 && r.Port != 80 {
		note("port %d is not a usual one for %s", r.Port, r.Protocol)
	}
}

// writing names the methods that can change something, "" if there are none.
func writing(methods []string) string {
	if len(methods) == 0 {
		return "any method, also those that write,"
	}
	var writes []string
	for _, m := range methods {
		if m != "GET" && m != "HEAD" && m != "OPTIONS" {
			writes = append(writes, m)
		}
	}
	if len(writes) == 0 {
		return ""
	}
	return strings.Join(writes, ", ") + " can change things"
}

// openHost says why a host, or one that a wildcard covers, is anybody's, "" if it is not
// known to be.
func openHost(host string) string {
	name := "." + strings.TrimLeft(host, "*.")
	for _, known := range [...]struct{ suffix, what string }{
		{".gist.github.com", "snippets"}, {".gist.githubusercontent.com", "snippets"}, {".raw.githubusercontent.com", "files of any repository"}, {".github.io", "pages of any user"},
		{".objects.githubusercontent.com", "files of any repository"}, {".codeload.github.com", "files of any repository"}, {".cdn.jsdelivr.net", "files of any repository"}, {".raw.githack.com", "files of any repository"}, {".gitlab.io", "pages of any user"}, {".bitbucket.io", "pages of any user"},
		{".pastebin.com", "a pastebin"}, {".paste.ee", "a pastebin"}, {".hastebin.com", "a pastebin"}, {".ghostbin.com", "a pastebin"}, {".dpaste.com", "a pastebin"}, {".dpaste.org", "a pastebin"}, {".termbin.com", "a pastebin"}, {".ix.io", "a pastebin"}, {".0x0.st", "a file drop"}, {".rentry.co", "a pastebin"},
		{".paste.rs", "a pastebin"}, {".sprunge.us", "a pastebin"}, {".bpa.st", "a pastebin"}, {".privatebin.net", "a pastebin"}, {".controlc.com", "a pastebin"}, {".justpaste.it", "a pastebin"}, {".telegra.ph", "pages of any user"}, {".tmpfiles.org", "a file drop"}, {".temp.sh", "a file drop"},
		{".nip.io", "a name for any address"}, {".sslip.io", "a name for any address"}, {".xip.io", "a name for any address"}, {".localtest.me", "a name for this machine"}, {".lvh.me", "a name for this machine"},
		{".transfer.sh", "a file drop"}, {".file.io", "a file drop"}, {".gofile.io", "a file drop"}, {".catbox.moe", "a file drop"}, {".wetransfer.com", "a file drop"},
		{".amazonaws.com", "anybody's buckets and functions"}, {".storage.googleapis.com", "anybody's buckets"}, {".blob.core.windows.net", "anybody's buckets"}, {".r2.dev", "anybody's buckets"}, {".digitaloceanspaces.com", "anybody's buckets"}, {".backblazeb2.com", "anybody's buckets"},
		{".workers.dev", "anybody's programs"}, {".pages.dev", "anybody's pages"}, {".vercel.app", "anybody's programs"}, {".netlify.app", "anybody's pages"}, {".herokuapp.com", "anybody's programs"}, {".run.app", "anybody's programs"}, {".azurewebsites.net", "anybody's programs"}, {".cloudfunctions.net", "anybody's programs"}, {".firebaseio.com", "anybody's data"}, {".firebaseapp.com", "anybody's pages"}, {".web.app", "anybody's pages"}, {".supabase.co", "anybody's data"}, {".deno.dev", "anybody's programs"}, {".glitch.me", "anybody's programs"}, {".script.google.com", "anybody's programs"}, {".fly.dev", "anybody's programs"}, {".onrender.com", "anybody's programs"},
		{".ngrok.io", "anybody's machine"}, {".ngrok.app", "anybody's machine"}, {".ngrok-free.app", "anybody's machine"}, {".trycloudflare.com", "anybody's machine"}, {".loca.lt", "anybody's machine"}, {".serveo.net", "anybody's machine"},
		{".webhook.site", "a request catcher"}, {".requestbin.com", "a request catcher"}, {".pipedream.net", "a request catcher"}, {".beeceptor.com", "a request catcher"}, {".requestcatcher.com", "a request catcher"}, {".oastify.com", "a request catcher"}, {".oast.fun", "a request catcher"}, {".oast.pro", "a request catcher"}, {".interact.sh", "a request catcher"},
		{".discord.com", "chat"}, {".cdn.discordapp.com", "anybody's files"}, {".hooks.slack.com", "chat"}, {".api.telegram.org", "chat"}, {".docs.google.com", "anybody's documents"}, {".drive.google.com", "anybody's files"}, {".dropboxapi.com", "anybody's files"}, {".dropbox.com", "anybody's files"}, {".httpbin.org", "it answers what it is sent"},
	} {
		if strings.HasSuffix(name, known.suffix) || host[0] == '*' && strings.HasSuffix(known.suffix, name) {
			return known.what
		}
	}
	return ""
}

// internal reports whether a name is of the kind that only internal networks resolve.
func internal(host string) bool {
	for _, suffix := range []string{".internal", ".intranet", ".corp", ".home", ".lan", ".private", ".home.arpa", ".test", ".svc"} {
		if strings.HasSuffix(host, suffix) || strings.Contains(host, ".corp.") || strings.Contains(host, ".internal.") || strings.HasSuffix(host, ".cluster.local") {
			return true
		}
	}
	return false
}

// unicodeName is what a name of another script looks like where it is shown undone.
func unicodeName(host string) (string, bool) {
	if !strings.Contains(host, "xn--") {
		return "", false
	}
	name, _ := idna.Punycode.ToUnicode(strings.TrimLeft(host, "*."))
	return name, true
}

// lookAlike is the allowed host that a name could be taken for, "" if there is none.
func lookAlike(host string, now policy.Policy) string {
	name := strings.TrimLeft(host, "*.")
	for _, have := range now.Routes {
		allowed := strings.TrimLeft(strings.ToLower(have.Host), "*.")
		if allowed == name || strings.HasSuffix(name, "."+allowed) && !strings.HasSuffix(allowed, "."+name) && strings.Count(allowed, ".") >= 1 {
			continue
		}
		if skeleton(name) == skeleton(allowed) || distance(name, allowed) == 1 && len(allowed) > 5 || strings.HasPrefix(name, allowed+".") || flat(name) == flat(allowed) {
			return have.Host
		}
	}
	return ""
}

// flat drops what is easily overlooked.
func flat(name string) string { return unnoticed.Replace(name) }

var unnoticed = strings.NewReplacer(".", "", "-", "")

// skeleton brings characters that look alike together, in the manner of Unicode's
// confusables (UTS #39), for what host names are made of.
func skeleton(name string) string {
	if shown, ok := unicodeName(name); ok {
		name = shown
	}
	return confusables.Replace(name)
}

var confusables = strings.NewReplacer("rn", "m", "vv", "w", "cl", "d", "0", "o", "1", "l", "i", "l", "5", "s", "а", "a", "е", "e", "о", "o", "р", "p", "с", "c", "у", "y", "х", "x", "ѕ", "s", "і", "l", "ј", "j", "һ", "h", "ԁ", "d", "ɡ", "g", "ո", "n", "ο", "o", "α", "a", "ν", "v", "ι", "l", "ı", "l", "ł", "l", "é", "e", "à", "a", "ü", "u", "ö", "o", "ä", "a")

// distance is 0 for equal names, 1 if one character was put in, left out, changed or
// swapped with the next, and 2 for anything more.
func distance(a, b string) int {
	if a == b {
		return 0
	}
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	if len(a) <= 1 && len(b) <= 1 || len(a) == 2 && len(b) == 2 && a[0] == b[1] && a[1] == b[0] {
		return 1
	}
	return 2
}
