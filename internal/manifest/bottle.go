package manifest

import (
	"cmp"
	"errors"
	"maps"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/bot-bottle/bot-bottle/internal/dlp"
	"github.com/bot-bottle/bot-bottle/internal/policy"
)

// bottles checks each file by itself, applies extends, and decodes the result.
func (l *loader) bottles(documents []document) {
	shape := bottleShape()
	byName := make(map[string]document, len(documents))
	sound := make(map[string]bool, len(documents))
	for _, d := range documents {
		check(d.root, &shape, "", &l.problems)
		byName[d.name], sound[d.name] = d, d.root != nil && l.clean(d.file)
	}
	for _, d := range documents {
		if root := l.extend(d, byName, sound, nil); root != nil {
			l.bottle(d, root)
		} else if !sound[d.name] && d.root != nil && d.root.get("extends") == nil {
			l.furtherProblems(d)
		}
	}
}

// clean reports whether a file has had no problem so far.
func (l *loader) clean(file string) bool {
	return !slices.ContainsFunc(l.problems, func(p Problem) bool { return p.File == file })
}

// furtherProblems looks for what else is wrong with a file whose structure is not right
// everywhere, on the lines where it is: the operator mends all in one go.
func (l *loader) furtherProblems(d document) {
	known := len(l.problems)
	l.bottle(d, d.root)
	delete(l.m.Bottles, d.name)
	found := slices.Clone(l.problems[known:])
	l.problems = l.problems[:known]
	for _, p := range found {
		if !slices.ContainsFunc(l.problems[:known], func(k Problem) bool { return k.File == p.File && k.Line == p.Line }) {
			l.problems = append(l.problems, p)
		}
	}
}

// extend returns a bottle's front matter merged onto what it extends; nil when any of
// the chain has a problem.
func (l *loader) extend(d document, byName map[string]document, sound map[string]bool, chain []string) *value {
	if !sound[d.name] {
		return nil
	}
	parent := d.root.get("extends")
	if parent == nil {
		return d.root
	}
	name := text(parent)
	chain = append(chain, d.name)
	if slices.Contains(chain, name) {
		if name == chain[0] { // else it is reported for those who are in the circle
			l.problems.add(d.file, parent.line, "extends goes in a circle: %s", strings.Join(append(chain, name), " → "))
		}
		return nil
	}
	base, ok := byName[name]
	if !ok {
		l.problems.add(d.file, parent.line, "extends: there is no bottle %q%s", name, DidYouMean(name, slices.Sorted(maps.Keys(byName))))
		return nil
	}
	root := l.extend(base, byName, sound, chain)
	if root == nil {
		return nil
	}
	shape := bottleShape()
	return merge(root, d.root, &shape)
}

func (l *loader) bottle(d document, root *value) {
	before := len(l.problems)
	provider, resources := root.get("agent_provider"), root.get("resources")
	b := Bottle{
		Name: d.name, File: d.file, Notes: d.body,
		Provider:  l.provider(d.file, provider),
		Runtime:   Runtime(text(root.get("runtime"))),
		Resources: l.resources(resources),
		Env:       l.env(d.file, root.get("env"), root.get("secrets")),
		Secrets:   l.secrets(root.get("secrets")),
		Routes:    l.routes(root.get("egress").get("routes"), root.get("secrets")),
		Deny:      l.deny(root.get("egress").get("deny")),
		Limits:    l.limits(root.get("egress").get("limits"), "egress.limits"),
		Scan:      l.scan(root.get("egress").get("scan")),
		Proxy:     l.proxy(root.get("egress").field("upstream_proxy"), root.get("secrets")),
		Git:       l.git(root.get("git"), root.get("secrets")),
		Supervise: truth(root.get("supervise")),
		Pipelock:  l.pipelock(root.get("pipelock")),
	}
	if b.Runtime == "" {
		b.Runtime = RuntimeAuto
	}
	if len(l.problems) == before {
		l.m.Bottles[d.name] = b
	}
}

// Least that an agent can live with.
const (
	minMemory = 64 << 20
	minPIDs   = 32
)

func (l *loader) resources(v *value) Resources {
	if v == nil {
		return Resources{}
	}
	r := Resources{PIDs: wholeNumber(v.get("pids"))}
	if memory := v.get("memory"); memory != nil {
		if r.Memory, _ = asSize(memory.scalar); r.Memory < minMemory {
			l.problems.add(memory.file, memory.line, "resources.memory must be 64MiB or more")
		}
	}
	if cpus := v.get("cpus"); cpus != nil {
		if r.CPUs, _ = asFloat(cpus.scalar); r.CPUs < 0.01 || r.CPUs > 4096 {
			l.problems.add(cpus.file, cpus.line, "resources.cpus must be 0.01 or more")
		}
	}
	if pids := v.get("pids"); pids != nil && r.PIDs < minPIDs {
		l.problems.add(pids.file, pids.line, "resources.pids must be %d or more", minPIDs)
	}
	return r
}

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// reserved variables make the bottle work.
func reserved() []string {
	return []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "LD_PRELOAD"}
}

func (l *loader) env(file string, v, secrets *value) map[string]string {
	if v == nil {
		return nil
	}
	env := make(map[string]string)
	for _, f := range v.fields {
		l.variable(f)
		if at := secrets.field(f.key); at != nil {
			if f.file == file {
				at = &f
			}
			l.problems.add(at.file, at.line, "%s is both in env and in secrets", f.key)
		}
		if strings.ContainsRune(text(f.value), 0) {
			l.problems.add(f.file, f.line, "env.%s holds a NUL", f.key)
		}
		env[f.key] = text(f.value)
	}
	return env
}

// variable checks the name of an environment variable.
func (l *loader) variable(f field) {
	if !variable.MatchString(f.key) {
		l.problems.add(f.file, f.line, "%q is not the name of an environment variable", f.key)
	}
	if slices.Contains(reserved(), strings.ToUpper(f.key)) {
		l.problems.add(f.file, f.line, "%s is set by bot-bottle", f.key)
	}
}

func (l *loader) routes(v, secrets *value) []policy.Route {
	if v == nil {
		return nil
	}
	var routes []policy.Route
	for _, item := range v.list {
		r := policy.Route{
			Host: text(item.get("host")), Port: int(wholeNumber(item.get("port"))), Protocol: policy.Protocol(text(item.get("protocol"))),
			Methods: texts(item.get("methods")), Paths: texts(item.get("paths")), Query: table(item.get("query")), Body: table(item.get("body")),
			Deny: l.deny(item.get("deny")), Limits: l.limits(item.get("limits"), "limits"), Scan: l.scan(item.get("scan")), Auth: l.auth(item.get("auth"), secrets),
			CA: l.path(item.get("ca")), Address: text(item.get("address")), Private: truth(item.get("private")),
			LogPath: policy.LogPath(text(item.get("log_path"))), Pipelock: routePipelock(item.get("pipelock")),
		}
		l.conditions(item)
		_, wrong := r.Check()
		for _, e := range wrong {
			at := item.get(e.Field).at(item.line)
			switch e.Field {
			case "deny", "limits": // said already, at their own lines
			case "host":
				l.problems.add(item.file, at, "route: %v", e)
			default:
				l.problems.add(item.file, at, "route %s: %v", r.Host, e)
			}
		}
		routes = append(routes, r)
	}
	return routes
}

// conditions refuses those that were begun and not finished: left out, they would mean any.
func (l *loader) conditions(rule *value) {
	for _, key := range []string{"methods", "paths", "query", "body"} {
		f := rule.field(key)
		if f != nil && (f.value == nil || len(f.value.list) == 0 && len(f.value.fields) == 0) {
			l.problems.add(f.file, f.line, "%s is empty: leave it out for any", key)
			continue
		}
		if f == nil {
			continue
		}
		for _, inner := range f.value.fields {
			if inner.value == nil {
				l.problems.add(inner.file, inner.line, "%s.%s has no value", key, inner.key)
			}
		}
	}
}

// deny reads deny rules, those of a bottle or of a route.
func (l *loader) deny(v *value) []policy.Deny {
	if v == nil {
		return nil
	}
	var rules []policy.Deny
	for _, item := range v.list {
		d := policy.Deny{
			Host: text(item.get("host")), Port: int(wholeNumber(item.get("port"))), Methods: texts(item.get("methods")), Paths: texts(item.get("paths")),
			Query: table(item.get("query")), Body: table(item.get("body")),
		}
		l.conditions(item)
		_, wrong := d.Check()
		for _, e := range wrong {
			l.problems.add(item.file, item.get(e.Field).at(item.line), "deny: %v", e)
		}
		rules = append(rules, d)
	}
	return rules
}

// limits reads those of a bottle or a route. Nothing is no limit, and 0 is not said:
// it could mean either.
func (l *loader) limits(v *value, name string) *policy.Limits {
	if v == nil {
		return nil
	}
	limits := &policy.Limits{Requests: wholeNumber(v.get("requests")), BytesUp: sizeOf(v.get("bytes_up")), BytesDown: sizeOf(v.get("bytes_down"))}
	for _, f := range v.fields {
		if f.key != "window" && sizeOf(f.value) == 0 {
			l.problems.add(f.file, f.line, "%s.%s must be 1 or more: leave it out for no limit", name, f.key)
			return limits
		}
	}
	if window := v.get("window"); window != nil {
		length, _ := asSpan(window.scalar)
		limits.Window = policy.Span(length)
	}
	if err := limits.Check(); err != nil {
		l.problems.add(v.file, v.line, "%s: %v", name, err)
	}
	return limits
}

// scan reads what is done about findings, by rule.
func (l *loader) scan(v *value) map[string]dlp.Action {
	if v == nil {
		return nil
	}
	actions := make(map[string]dlp.Action)
	for _, f := range v.fields {
		action := dlp.Action(text(f.value))
		if err := dlp.CheckActions(map[string]dlp.Action{f.key: action}); err != nil {
			l.problems.add(f.file, f.line, "scan: %v%s", err, DidYouMean(f.key, append(dlp.Rules(), dlp.AnyToken)))
		}
		actions[f.key] = action
	}
	return actions
}

// auth reads a credential; its secret must be one of the bottle's.
func (l *loader) auth(v, secrets *value) *policy.Auth {
	if v == nil {
		return nil
	}
	a := &policy.Auth{
		Scheme: policy.Scheme(text(v.get("scheme"))), Header: text(v.get("header")), User: text(v.get("user")),
		Parameter: text(v.get("parameter")), Secret: text(v.get("secret")), FormFields: texts(v.get("form_fields")),
	}
	l.declared(v, secrets)
	return a
}

// declared refuses a credential whose secret is none of the bottle's.
func (l *loader) declared(v, secrets *value) {
	if name := text(v.get("secret")); secrets.get(name) == nil {
		l.problems.add(v.file, v.get("secret").at(v.line), "there is no secret %q%s", name, DidYouMean(name, names(secrets)))
	}
}

// proxy reads the operator's own proxy. One that was begun and not finished is none that
// may be left out: everything would go directly.
func (l *loader) proxy(f *field, secrets *value) *policy.Proxy {
	if f == nil {
		return nil
	}
	v := f.value
	if v == nil {
		l.problems.add(f.file, f.line, "upstream_proxy is empty: leave it out to dial directly")
		return nil
	}
	p := &policy.Proxy{URL: text(v.get("url")), CA: l.path(v.get("ca")), NoProxy: texts(v.get("no_proxy"))}
	if auth := v.get("auth"); auth != nil {
		p.Auth = &policy.ProxyAuth{User: text(auth.get("user")), Secret: text(auth.get("secret"))}
		l.declared(auth, secrets)
	}
	for _, e := range p.Check() {
		l.problems.add(v.file, v.get(e.Field).at(v.line), "upstream_proxy: %v", e)
	}
	return p
}

func names(v *value) []string {
	if v == nil {
		return nil
	}
	var all []string
	for _, f := range v.fields {
		all = append(all, f.key)
	}
	return all
}

var repositoryName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

func (l *loader) git(v, secrets *value) []GitRepo {
	if v == nil {
		return nil
	}
	var repos []GitRepo
	for _, item := range v.list {
		r := GitRepo{
			Name: text(item.get("name")), Upstream: text(item.get("upstream")),
			IdentityFile: l.path(item.get("identity_file")), KnownHosts: l.path(item.get("known_hosts")), HostKey: text(item.get("host_key")),
			CA: l.path(item.get("ca")), SignKey: l.path(item.get("sign_key")), Push: l.push(item.get("push")),
		}
		if auth := item.get("auth"); auth != nil {
			r.User, r.Secret = cmp.Or(text(auth.get("user")), "x-access-token"), text(auth.get("secret"))
			l.declared(auth, secrets)
		}
		if !repositoryName.MatchString(r.Name) || strings.HasSuffix(r.Name, ".git") || strings.Contains(r.Name, "..") {
			l.problems.add(item.file, item.line, "git: %q is not a repository's name", r.Name)
		}
		if slices.ContainsFunc(repos, func(other GitRepo) bool { return strings.EqualFold(other.Name, r.Name) }) {
			l.problems.add(item.file, item.line, "git: there are two repositories %s", r.Name)
		}
		if err := checkUpstream(r.Upstream); err != nil {
			l.problems.add(item.file, item.get("upstream").at(item.line), "git.upstream: %v", err)
		} else {
			l.gitCredential(item, r)
		}
		repos = append(repos, r)
	}
	return repos
}

// fingerprint is how ssh-keygen -l prints a key's.
var fingerprint = regexp.MustCompile(`^SHA256:[A-Za-z0-9+/]{43}$`)

// gitCredential refuses what the upstream's transport would not use: the operator would
// think that it does.
func (l *loader) gitCredential(item *value, r GitRepo) {
	say := func(field, format string, args ...any) {
		l.problems.add(item.file, item.get(field).at(item.line), "git."+field+": "+format, args...)
	}
	if r.SignKey != "" && r.Push.Others {
		say("sign_key", "it vouches for every commit that is pushed, so push.authors must not be any")
	}
	if r.HostKey != "" && !fingerprint.MatchString(r.HostKey) {
		say("host_key", "%q is no fingerprint such as ssh-keygen -lf prints: SHA256:…", r.HostKey)
	}
	if strings.HasPrefix(r.Upstream, "https://") {
		for _, field := range []string{"identity_file", "known_hosts", "host_key"} {
			if item.get(field) != nil {
				say(field, "it is for ssh, and the upstream is https: use auth")
			}
		}
		return
	}
	for _, field := range []string{"auth", "ca"} {
		if item.get(field) != nil {
			say(field, "it is for https, and the upstream is ssh: use identity_file")
		}
	}
	if r.HostKey != "" && r.KnownHosts != "" {
		say("host_key", "use either it or known_hosts")
	}
}

// push reads what may be pushed.
func (l *loader) push(v *value) policy.Push {
	p := policy.Push{
		Refs: texts(v.get("refs")), Force: truth(v.get("force")), Delete: truth(v.get("delete")),
		Hold: text(v.get("mode")) == "hold", Protect: texts(v.get("protect")), Others: text(v.get("authors")) == "any",
	}
	for _, ref := range p.Refs {
		if err := checkRefs(ref); err != nil {
			l.problems.add(v.file, v.get("refs").at(v.line), "git.push.refs: %q %v", ref, err)
		}
	}
	for _, branch := range p.Protect {
		if err := checkRefs("refs/heads/" + branch); err != nil || strings.HasPrefix(branch, "refs/") {
			l.problems.add(v.file, v.get("protect").at(v.line), "git.push.protect: %q is not a branch's name or glob, such as main or release/**", branch)
		}
	}
	if paths := v.get("paths"); paths != nil {
		p.Paths = make(map[string]policy.PathAction)
		for _, f := range paths.fields {
			if err := checkPaths(f.key); err != nil {
				l.problems.add(f.file, f.line, "git.push.paths: %q %v", f.key, err)
			}
			p.Paths[f.key] = policy.PathAction(text(f.value))
		}
	}
	return p
}

// checkPaths refuses a glob that can match no path in a repository.
func checkPaths(glob string) error {
	for segment := range strings.SplitSeq(glob, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return errors.New("can match no path: write it from the repository's root, as in docs/**")
		}
		if strings.Contains(segment, "**") && segment != "**" {
			return errors.New("has ** beside other characters: it must be a whole part")
		}
	}
	return nil
}

// checkRefs refuses a glob that can match no ref (git-check-ref-format(1)), or not what it
// seems to.
func checkRefs(glob string) error {
	if !strings.HasPrefix(glob, "refs/") {
		return errors.New("must begin with refs/")
	}
	if strings.ContainsFunc(glob, unicode.IsControl) || strings.ContainsAny(glob, ` ~^:?[\`) || strings.Contains(glob, "..") || strings.Contains(glob, "@{") {
		return errors.New("can match no ref: only * and ** have a meaning, and a ref holds no space and none of ~^:?[\\ .. @{")
	}
	for segment := range strings.SplitSeq(glob, "/") {
		if segment == "" || strings.HasPrefix(segment, ".") || strings.HasSuffix(segment, ".") || strings.HasSuffix(segment, ".lock") {
			return errors.New("can match no ref: a part is empty, begins or ends with a dot, or ends with .lock")
		}
		if strings.Contains(segment, "**") && segment != "**" {
			return errors.New("has ** beside other characters: it must be a whole part")
		}
	}
	return nil
}

var scpLike = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*@[A-Za-z0-9][A-Za-z0-9.-]*:[A-Za-z0-9._~/][A-Za-z0-9._~/-]*$`)

var upstreamHost = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9.-]*|[0-9a-f:]+:[0-9a-f:.]*)$`)

// checkUpstream takes the three transports that the gate speaks, and nothing that git
// would run (git-remote-ext(1)) or take for an option. A URL is shown in many places, so it
// holds no credential.
func checkUpstream(address string) error {
	if strings.ContainsFunc(address, func(r rune) bool { return r <= 0x20 || r >= 0x7f }) {
		return errors.New("it holds a space or a character that is not ASCII")
	}
	if scpLike.MatchString(address) {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil || !strings.HasPrefix(address, "ssh://") && !strings.HasPrefix(address, "https://") {
		return errors.New("it must be ssh://…, https://… or user@host:path")
	}
	if _, password := u.User.Password(); password || u.Scheme == "https" && u.User != nil {
		return errors.New("it holds a credential, which whoever sees the URL would have: leave out the password, and for https the user")
	}
	if !upstreamHost.MatchString(u.Hostname()) || strings.HasPrefix(u.User.Username(), "-") || u.User != nil && u.User.Username() == "" {
		return errors.New("it names no host, or a user or host that ssh would take for an option")
	}
	if strings.Trim(u.Path, "/") == "" || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("it must end with the path of a repository")
	}
	return nil
}

// command makes the path of a program absolute as path does: where it is run from must
// not matter, since that may be a hostile repository. A bare name is looked up in PATH.
func (l *loader) command(v *value) []string {
	words := texts(v)
	if len(words) > 0 && strings.Contains(words[0], "/") {
		words[0] = l.path(v.list[0])
	}
	return words
}

// path makes a path absolute: "~" is the operator's home, and others are relative to
// the file that names them.
func (l *loader) path(v *value) string {
	p := l.expand(text(v))
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(filepath.Dir(v.file), p)
}

func (l *loader) expand(p string) string {
	if p == "~" || strings.HasPrefix(p, "~/") {
		return filepath.Join(l.userHome, p[1:])
	}
	return p
}
