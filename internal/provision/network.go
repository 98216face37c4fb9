package provision

import "github.com/bot-bottle/bot-bottle/internal/provider"

// Hostname is every bottle's.
const Hostname = "bottle"

// Network makes programs find the guest, as the resolver (resolv.conf(5)) and as the
// proxy, and the bottle's own name (hosts(5), hostname(5)).
func Network(a *Archive) {
	for name, content := range map[string]string{
		"/etc/resolv.conf": "nameserver 127.0.0.1\n",
		"/etc/hostname":    Hostname + "\n",
		"/etc/hosts":       "127.0.0.1\tlocalhost\n127.0.1.1\t" + Hostname + "\n::1\tlocalhost ip6-localhost ip6-loopback\n",
	} {
		a.Add(provider.File{Path: name, Mode: 0o644, Data: []byte(content)})
	}
	proxy(a)
}

// proxy points programs that read the usual variables at the guest's listener.
// Those that do not are carried by the transparent addresses all the same; nothing
// gets out by dropping these.
func proxy(a *Archive) {
	const proxy, direct = "http://127.0.0.1:3128", "localhost,127.0.0.1"
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"} {
		a.Setenv(name, proxy)
	}
	a.Setenv("NO_PROXY", direct)
	a.Setenv("no_proxy", direct)
}
