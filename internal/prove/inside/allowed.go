package inside

import (
	"context"
	"fmt"
)

// allowed are ways to carry data away through hosts that are allowed.
func allowed() []Attack {
	return []Attack{
		{"I3", "read only", "a host that may be read from cannot be written to", hasProxy, readOnly},
		{"I4", "another's bucket", "a host that is pinned to our bucket serves no other", hasProxy, pinned},
		{"I6", "limits", "what a limit allows is all that goes", hasProxy, limited},
		{"A12", "redirects", "a redirect is returned, not followed, and the place it names is refused", hasProxy, redirected},
	}
}

func readOnly(ctx context.Context, a *Arena) (all []Attempt) {
	host := "one." + a.Wild
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get"} {
		all = append(all, refused(method+" to it", notFromUpstream(ask(ctx, a, host, host, request(method, "/open/hello", host, "Content-Length: 0\r\n")))))
	}
	return append(all,
		works("GET", expect(ask(ctx, a, host, host, request("GET", "/open/hello", host)), "hello")),
		refused("GET that another method is hidden in", notFromUpstream(ask(ctx, a, host, host, request("GET", "/open/hello?_method=DELETE", host)))))
}

func pinned(ctx context.Context, a *Arena) []Attempt {
	try := func(query string) error {
		return notFromUpstream(ask(ctx, a, a.Other, a.Other, request("GET", "/open/hello?"+query, a.Other)))
	}
	return []Attempt{
		works("ours", try("bucket=ours")), refused("another's", try("bucket=evil")), refused("none", try("x=1")), refused("both", try("bucket=ours&bucket=evil")),
		refused("another's after ours, encoded", try("bucket=ours&%62ucket=evil")), refused("ours with more", try("bucket=ours%00evil")), refused("ours by semicolon", try("a=b;bucket=ours")),
	}
}

// limited counts how many of too many requests pass. Another user may have used some.
func limited(ctx context.Context, a *Arena) []Attempt {
	passed, last := 0, error(nil)
	for range a.Limit + 3 {
		if last = notFromUpstream(ask(ctx, a, a.Limited, a.Limited, request("GET", "/open/hello", a.Limited))); last == nil {
			passed++
		}
	}
	return []Attempt{
		{fmt.Sprintf("%d requests where %d are allowed", a.Limit+3, a.Limit), fmt.Sprintf("%d passed", passed), passed <= a.Limit},
		refused("one more", last),
	}
}

func redirected(ctx context.Context, a *Arena) []Attempt {
	got := ask(ctx, a, a.Allowed, a.Allowed, request("GET", "/open/redirect", a.Allowed))
	return []Attempt{
		{"GET /open/redirect", got.String(), got.err == nil && got.status == 302},
		refusedConnect(ctx, a, a.Refused+":443"),
	}
}
