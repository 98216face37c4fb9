package egress

import (
	"net/http"
	"slices"
	"strings"
)

// unfit names what would make a request escape inspection, "" if nothing does.
func unfit(r *http.Request) string {
	upgrade := r.Header["Upgrade"]
	switch {
	case r.Method == http.MethodConnect || r.Method == http.MethodTrace:
		return "method " + r.Method + " is not carried"
	case len(upgrade) > 1 || len(upgrade) == 1 && !strings.EqualFold(upgrade[0], "websocket"):
		return "only an upgrade to websocket is carried" // not h2c (ATTACKS B7)
	}
	method, target := otherIn(r.Header)
	if !method && r.URL.RawQuery != "" && methodInQuery(r.URL.RawQuery) {
		return "a parameter" + otherMethod
	}
	switch {
	case method:
		return "a header" + otherMethod
	case target != "":
		return "header " + target + " is not carried: it may name another target, or another body, than the request does"
	case otherCharset(r.Header) != "":
		return "a form is carried in UTF-8, not with " + otherCharset(r.Header)
	case r.Header.Get("Http2-Settings") != "":
		return "an upgrade to h2c is not carried"
	case !strings.HasPrefix(r.URL.EscapedPath(), "/") && r.URL.EscapedPath() != "":
		return "the request's target is not a path"
	}
	return ""
}

// otherIn looks at the names of all headers: whether one names another method, and which
// one, "" for none, another target.
func otherIn(h http.Header) (method bool, target string) {
	for name := range h {
		m := meaningOf(name)
		if method = method || m.method; m.target {
			target = name
		}
	}
	return method, target
}

// namesTarget reports whether a header names another path or host than the request line,
// which some servers go by (ATTACKS B5), or is one of HTTP's own to who reads "_" as "-".
func namesTarget(name, dashed string) bool {
	switch dashed {
	case "x-original-url", "x-original-uri", "x-rewrite-url", "x-override-url", "x-http-host-override", "x-original-host", "x-host":
		return true
	case "content-length", "transfer-encoding", "content-encoding", "content-type", "host":
		return strings.Contains(name, "_")
	}
	return false
}

// otherObject says why a header that has the host fetch, or write, another of its objects is
// not carried; "" if there is none, or if no rule binds the request to a part of the host.
func (x *exchange) otherObject(h http.Header) string {
	for name := range h {
		if !meaningOf(name).object {
			continue
		}
		if rule := x.rules.set.Bound(x.asked, x.decision); rule != "" {
			return "header " + name + " names another object than the path does, and " + rule + " is bound to a part of the host: only the operator can allow it, by a route to the host without paths and query"
		}
	}
	return ""
}

// namesObject reports whether a header is one of those: of WebDAV, and of the stores' copying,
// renaming and linking.
func namesObject(dashed string) bool {
	ends := []string{"-copy-source", "-rename-source", "-copy-from", "-symlink-target", "-object-manifest"}
	return dashed == "destination" || slices.ContainsFunc(ends, func(end string) bool { return strings.HasSuffix(dashed, end) })
}

// otherCharset is a charset of a form in which a name may have other bytes than the ones that
// are looked for, "" if there is none. Some servers go by it.
func otherCharset(h http.Header) string {
	kind := strings.ToLower(strings.Join(h["Content-Type"], ","))
	if !strings.Contains(kind, "multipart/") && !strings.Contains(kind, "x-www-form-urlencoded") {
		return ""
	}
	for _, after := range strings.Split(kind, "charset")[1:] {
		value, _, _ := strings.Cut(after, ";")
		value, _, _ = strings.Cut(value, ",")
		switch strings.Trim(value, "= \t\"'") {
		case "utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin1", "windows-1252":
		default:
			return "charset" + strings.TrimSpace(value)
		}
	}
	return ""
}
