package egress

import (
	"strings"
	"sync"
)

// meaning is what the name of a header says to the checks of a head.
type meaning struct {
	method     bool   // names another method than the request line does (method.go)
	target     bool   // another path or host, or is one of HTTP's own to some (unfit.go)
	object     bool   // another object of the host's (unfit.go)
	credential bool   // may carry one (credentials.go)
	plain      string // the name as servers may read it
}

// meaningOf judges a name. Those that nearly every request has were judged before.
func meaningOf(name string) meaning {
	if m, ok := usualHeaders()[name]; ok {
		return m
	}
	return judgeHeader(name)
}

func judgeHeader(name string) meaning {
	dashed := strings.ReplaceAll(strings.ToLower(name), "_", "-")
	return meaning{
		method: namesMethod(name), target: namesTarget(name, dashed), object: namesObject(dashed),
		credential: namesSecretHeader(dashed), plain: plainName(name),
	}
}

// usualHeaders are the names that clients send most, judged once for the process.
var usualHeaders = sync.OnceValue(func() map[string]meaning {
	judged := map[string]meaning{}
	for _, name := range []string{
		"Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Access-Control-Request-Headers", "Access-Control-Request-Method",
		"Anthropic-Beta", "Anthropic-Dangerous-Direct-Browser-Access", "Anthropic-Version", "Api-Key", "Authorization", "Cache-Control", "Connection",
		"Content-Disposition", "Content-Encoding", "Content-Language", "Content-Length", "Content-Type", "Cookie", "Dnt", "Expect", "Git-Protocol",
		"Grpc-Accept-Encoding", "Grpc-Encoding", "Grpc-Timeout", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "Keep-Alive", "Mcp-Protocol-Version",
		"Mcp-Session-Id", "Npm-Command", "Npm-Scope", "Openai-Beta", "Openai-Organization", "Openai-Project", "Origin", "Originator", "Pacote-Pkg-Id", "Pacote-Req-Type",
		"Pacote-Version", "Pragma", "Priority", "Proxy-Connection", "Range", "Referer", "Sec-Ch-Ua", "Sec-Ch-Ua-Mobile", "Sec-Ch-Ua-Platform", "Sec-Fetch-Dest",
		"Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-User", "Sec-Websocket-Extensions", "Sec-Websocket-Key", "Sec-Websocket-Protocol", "Sec-Websocket-Version",
		"Session_id", "Te", "Traceparent", "Tracestate", "Transfer-Encoding", "Upgrade", "Upgrade-Insecure-Requests", "User-Agent", "X-Api-Key", "X-App",
		"X-Github-Api-Version", "X-Goog-Api-Client", "X-Goog-Api-Key", "X-Request-Id", "X-Requested-With", "X-Stainless-Arch", "X-Stainless-Async",
		"X-Stainless-Helper-Method", "X-Stainless-Lang", "X-Stainless-Os", "X-Stainless-Package-Version", "X-Stainless-Read-Timeout", "X-Stainless-Retry-Count",
		"X-Stainless-Runtime", "X-Stainless-Runtime-Version", "X-Stainless-Timeout",
	} {
		judged[name] = judgeHeader(name)
	}
	return judged
})
