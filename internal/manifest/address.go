package manifest

import (
	"cmp"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Address is where a repository is, whatever way it is spelt: git has a handful for the
// same place (git-clone(1), GIT URLS).
type Address struct {
	Scheme string // ssh, https, http or git
	User   string // who ssh logs in as; "" for nobody named
	Host   string // in lower case, without brackets
	Port   string // "" is the scheme's own
	Path   string // without slashes around it, and without .git
}

// Place names the repository without regard to how it is reached: host/path, in lower
// case. Ports do not count: the one of ssh and the one of https differ.
func (a Address) Place() string { return strings.ToLower(a.Host + "/" + a.Path) }

// Address is the upstream's; ok is false for one that the manifest would have refused.
func (r GitRepo) Address() (a Address, ok bool) { return ParseAddress(r.Upstream) }

var scpSpelling = regexp.MustCompile(`^(?:([^@/:\[\]]+)@)?([^@/:\[\]]+|\[[0-9A-Fa-f:.]+\]):(.*)$`)

// ParseAddress understands every spelling of a repository on a server. A password in it
// is dropped. It is not ok for a path on this machine, and for transports that are none of
// ssh, https, http and git.
func ParseAddress(spelling string) (a Address, ok bool) {
	if !strings.Contains(spelling, "://") {
		m := scpSpelling.FindStringSubmatch(spelling)
		if m == nil {
			return Address{}, false
		}
		a = Address{Scheme: "ssh", User: m[1], Host: strings.Trim(m[2], "[]"), Path: m[3]}
		return a.normal()
	}
	u, err := url.Parse(spelling)
	if err != nil || u.RawQuery != "" || u.Fragment != "" {
		return Address{}, false
	}
	a = Address{Scheme: strings.ToLower(u.Scheme), Host: u.Hostname(), Port: u.Port(), Path: u.Path}
	if a.Scheme == "git+ssh" || a.Scheme == "ssh+git" {
		a.Scheme = "ssh"
	}
	if a.Scheme == "ssh" {
		a.User = u.User.Username()
	}
	return a.normal()
}

func (a Address) normal() (Address, bool) {
	a.Host = strings.ToLower(a.Host)
	if a.Port == a.defaultPort() {
		a.Port = ""
	}
	a.Path = strings.TrimSuffix(strings.Trim(a.Path, "/"), ".git")
	a.Path = strings.TrimRight(a.Path, "/")
	return a, a.defaultPort() != "" && a.Host != "" && a.Path != ""
}

// defaultPort is "" for a scheme that is none of ours.
func (a Address) defaultPort() string {
	return map[string]string{"ssh": "22", "https": "443", "http": "80", "git": "9418"}[a.Scheme]
}

// Spellings of a repository: each is how what people and tools write for it begins, with the
// default port or without, with a user or without. Whether ".git" follows makes no difference.
func (a Address) Spellings() []string {
	var all []string
	add := func(s string) {
		if s += a.Path; !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	host := a.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	users := []string{"", "git@", cmp.Or(a.User, "git") + "@"}
	for _, scheme := range []string{"ssh", "git+ssh", "ssh+git", "https", "http", "git"} {
		for _, authority := range a.authorities(scheme, host, users) {
			add(scheme + "://" + authority + "/")
		}
	}
	for _, user := range users {
		add(user + host + ":")
		add(user + host + ":/")
	}
	return all
}

// authorities of a scheme: with its default port, without one, and with our own port
// where the scheme is ours.
func (a Address) authorities(scheme, host string, users []string) []string {
	kind := Address{Scheme: scheme}
	if strings.Contains(scheme, "+") {
		kind.Scheme = "ssh"
	}
	ports := []string{"", ":" + kind.defaultPort()}
	if kind.Scheme == a.Scheme && a.Port != "" {
		ports = append(ports, ":"+a.Port)
	}
	if kind.Scheme == "git" {
		users = users[:1]
	}
	var all []string
	for _, user := range users {
		for _, port := range ports {
			all = append(all, user+host+port)
		}
	}
	return all
}
