package provision

// Proxy points programs that read the usual variables at the guest's listener.
// Those that do not are carried by the transparent addresses all the same; nothing
// gets out by dropping these.
func Proxy(a *Archive) {
	const proxy, direct = "http://127.0.0.1:3128", "localhost,127.0.0.1"
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"} {
		a.Setenv(name, proxy)
	}
	a.Setenv("NO_PROXY", direct)
	a.Setenv("no_proxy", direct)
}
