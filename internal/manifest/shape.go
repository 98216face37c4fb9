package manifest

// shape describes front matter: it drives the check of every file and the JSON Schema.
type shape struct {
	doc    string
	kind   shapeKind
	fields []property // of an object
	items  *shape     // of a list, or of a map's values
	words  []string   // the only values of a word
	whole  bool       // in extends: replaced as a whole, not merged
	flag   bool       // of an object: true or false will do as well
}

type shapeKind string

const (
	object  shapeKind = "object"
	mapping shapeKind = "map" // names to values
	list    shapeKind = "array"
	word    shapeKind = "string"
	number  shapeKind = "number"
	whole   shapeKind = "integer"
	yesNo   shapeKind = "boolean"
	size    shapeKind = "size" // bytes: 4GiB, 512m, 1048576
	span    shapeKind = "span" // of time: 90s, 5m, 24h, 7d
)

type property struct {
	key      string
	required bool
	shape
}

func one(key, doc string, k shapeKind) property {
	return property{key: key, shape: shape{doc: doc, kind: k}}
}

func choice(key, doc string, words ...string) property {
	return property{key: key, shape: shape{doc: doc, kind: word, words: words}}
}

func words(key, doc string) property {
	return property{key: key, shape: shape{doc: doc, kind: list, items: &shape{kind: word}}}
}

func named(key, doc string) property {
	return property{key: key, shape: shape{doc: doc, kind: mapping, items: &shape{kind: word}}}
}

func group(key, doc string, fields ...property) property {
	return property{key: key, shape: shape{doc: doc, kind: object, fields: fields}}
}

func (p property) must() property { p.required = true; return p }

// agentShape is the front matter of an agent.
func agentShape() shape {
	return shape{kind: object, doc: "An agent: what runs in a bottle. The body is its prompt.", fields: []property{
		one("bottle", "Name of the bottle that it runs in.", word).must(),
		words("skills", "Directories under ~/.claude/skills that it gets."),
		group("git_identity", "Author and committer of its commits.",
			one("name", "Name on commits.", word),
			one("email", "E-mail address on commits.", word)),
		words("args", "Arguments for the agent's command, before those of the command line."),
	}}
}

// bottleShape is the front matter of a bottle.
func bottleShape() shape {
	return shape{kind: object, doc: "A bottle: the environment that an agent runs in, and what it may reach.", fields: []property{
		one("extends", "Name of a bottle that this one adds to: lists append, maps merge, single values replace.", word),
		group("agent_provider", "The agent's command-line program.",
			choice("template", "Which one.", "claude", "codex", "gemini", "opencode", "custom"),
			one("dockerfile", "A Dockerfile that builds on the template's image, relative to the working directory.", word),
			one("image", "An image to run in the place of the template's, by its digest: name@sha256:….", word),
			one("archive", "An image as a file that docker save wrote, for the smolmachines backend: no Docker is needed then.", word),
			group("build", "How the Dockerfile is built.",
				choice("network", "Whether its steps have a network.", "default", "none"))),
		choice("runtime", "Container runtime; auto uses gVisor's runsc where the engine has it ready.", "auto", "runc", "runsc"),
		group("resources", "Limits.",
			one("cpus", "CPUs, such as 2 or 0.5.", number),
			one("memory", "Memory, such as 4GiB.", size),
			one("pids", "Processes and threads.", whole)),
		{key: "env", shape: shape{doc: "Environment variables. Never a secret.", kind: mapping, items: &shape{kind: word}}},
		{key: "secrets", shape: shape{doc: "Credentials, fetched on the host at start; the bottle sees a placeholder under each name.", kind: mapping, items: secretShape()}},
		group("egress", "What the bottle may reach.",
			property{key: "routes", shape: shape{doc: "Routes; the first that matches decides, and nothing else passes.", kind: list, items: routeShape()}},
			property{key: "deny", shape: shape{doc: "What no route may allow: these rules win.", kind: list, items: denyShape(
				one("host", "Exact name, or a pattern as in a route; any host by default.", word),
				one("port", "Any by default.", whole))}},
			limitsShape("What all routes together may use."),
			scanShape("What is done about secrets in what the bottle sends; by default it is refused."),
			proxyShape()),
		{key: "git", shape: shape{doc: "Repositories behind the git gate.", kind: list, items: gitShape()}},
		one("supervise", "Whether the agent may ask the operator for more.", yesNo),
		pipelockShape(),
	}}
}

func secretShape() *shape {
	return &shape{kind: object, whole: true, doc: "Where it is: exactly one of these, and account and ttl where they say so.", fields: []property{
		one("env", "Environment variable of the host.", word),
		words("command", "Command whose output it is, as a list of words."),
		one("file", "File on the host.", word),
		one("gh", "Host whose token GitHub's gh keeps, such as github.com (gh auth token).", word),
		one("keychain", "Service of an entry in the macOS Keychain (security find-generic-password).", word),
		one("account", "With keychain: the entry's account; any by default.", word),
		choice("login", "The login of a command line on the host, which is renewed while the bottle runs: codex is that with ChatGPT.", "codex"),
		one("onepassword", "Reference of 1Password's op, such as op://Private/GitHub/token (op read).", word),
		one("pass", "Entry of pass, whose first line it is (pass show).", word),
		named("secret_service", "Attributes of an entry that the desktop's keyring keeps, such as {service: github} (secret-tool lookup)."),
		one("ttl", "How long what a command or one of these programs gave is good, such as 45m; it is run again then, while start runs.", word),
	}}
}

func routeShape() *shape {
	return &shape{kind: object, fields: []property{
		one("host", `Exact name, "*.domain" for one label more, or "**.domain" for any depth.`, word).must(),
		one("port", "443 by default, 80 for protocol http.", whole),
		choice("protocol", "https by default; tcp is carried as bytes and not inspected.", "https", "http", "tcp"),
		words("methods", "HTTP methods; any by default."),
		words("paths", `Globs; "*" within a segment, "**" any number of segments; any path by default.`),
		named("query", `Parameters of the query: "name: value"; "*" is any run of characters. Each must stand there once.`),
		named("body", `Fields of the JSON body: "field.inner: value"; "*" is any run of characters.`),
		property{key: "deny", shape: shape{doc: "What this route's host does not get, whatever a route allows.", kind: list, items: denyShape()}},
		limitsShape("What the route may use."),
		scanShape("The same for this route; these come first."),
		group("auth", "The credential that egress puts on, replacing whatever the bottle sent.",
			choice("scheme", "How; placeholder replaces the secret's placeholder wherever it stands in the head.", "bearer", "basic", "header", "query", "placeholder").must(),
			one("header", "Header's name, for scheme header.", word),
			one("user", "User's name, for scheme basic.", word),
			one("parameter", "Parameter's name, for scheme query.", word),
			words("form_fields", "Fields of forms that are carried though they are called like credentials: their values are none for this host."),
			one("secret", "Which of the bottle's secrets.", word).must()),
		one("ca", "PEM file with certificates to trust for this route as well.", word),
		one("address", "host:port to dial instead of resolving the host.", word),
		one("private", "Whether the address may be private, loopback or link-local.", yesNo),
		routePipelockShape(),
		choice("log_path", "What the log tells of paths: redacted (by default), full, or none.", "redacted", "full", "none"),
	}}
}

// denyShape is a deny rule; the rules of a bottle name a host as well.
func denyShape(where ...property) *shape {
	return &shape{kind: object, fields: append(where,
		words("methods", "HTTP methods; any by default."),
		words("paths", "Globs; any path by default."),
		named("query", "Parameters of the query; what could be read as meeting this is denied as well."),
		named("body", "Fields of the JSON body; a body that cannot be read is denied as well."))}
}

func limitsShape(doc string) property {
	return group("limits", doc,
		one("requests", "How many requests.", whole),
		one("bytes_up", "Bytes from the bottle, such as 10MiB; heads of requests count.", size),
		one("bytes_down", "Bytes to the bottle.", size),
		one("window", "In any stretch of time as long as this, such as 1h or 7d; in all by default.", span))
}

func scanShape(doc string) property {
	return property{key: "scan", shape: shape{doc: doc + ` "rule: block", redact or alert; "*" is every token's shape.`, kind: mapping, items: &shape{kind: word}}}
}

// proxyShape is replaced as a whole in extends: a password is for the proxy beside it.
func proxyShape() property {
	p := group("upstream_proxy", "An HTTP proxy of the operator's, through which egress reaches everything (CONNECT).",
		one("url", "http://host:port or https://host:port.", word).must(),
		group("auth", "What the proxy asks for.",
			one("user", "User's name.", word).must(),
			one("secret", "Which of the bottle's secrets is the password.", word).must()),
		one("ca", "PEM file with certificates to trust for an https proxy as well.", word),
		words("no_proxy", `What is dialled directly: hosts, "*.domain", "**.domain", addresses, networks such as 10.0.0.0/8.`))
	p.whole = true
	return p
}

// pipelockShape is replaced as a whole in extends: a version is that of the program beside it.
func pipelockShape() property {
	p := group("pipelock", "Whether Pipelock looks at what the bottle sends as well, and which one: by default the image that the engine has of it.",
		one("image", "Its image, by its digest: name@sha256:….", word),
		one("binary", "The program itself, a static one, on this host.", word),
		one("min_version", "The least version of it that will do, such as 2.3.", word),
		one("answers", "Whether it looks for prompt injection in what hosts other than models' answer, too; it only notes what it finds. True by default.", yesNo))
	p.whole, p.flag = true, true
	return p
}

func routePipelockShape() property {
	p := group("pipelock", "What Pipelock looks at on this route, where the bottle has it; false is nothing.",
		one("budget", "How much of a body may be new to it, such as 2MiB; 1MiB by default, 8MiB at most.", size),
		choice("over", "What becomes of a body with more.", "deny", "allow"),
		one("answers", "Whether it looks at this route's answers; true by default.", yesNo))
	p.whole, p.flag = true, true
	return p
}

func gitShape() *shape {
	return &shape{kind: object, fields: []property{
		one("name", "Its name in the bottle.", word).must(),
		one("upstream", "URL of the real repository: ssh://, https:// or user@host:path.", word).must(),
		one("identity_file", "SSH key that the gate uses; without a passphrase.", word),
		one("known_hosts", "Host keys that the gate trusts; ~/.ssh/known_hosts by default.", word),
		one("host_key", `Fingerprint of the one host key that the gate trusts, such as "SHA256:…".`, word),
		group("auth", "Credential of an https upstream.",
			one("user", "User's name; x-access-token by default.", word),
			one("secret", "Which of the bottle's secrets is the password.", word).must()),
		one("ca", "PEM file with certificates to trust for an https upstream as well.", word),
		one("sign_key", "SSH key (ed25519 or RSA, without a passphrase) with which the gate signs what is pushed.", word),
		group("push", "What may be pushed.",
			words("refs", `Globs of full ref names, such as "refs/heads/agent/**".`),
			one("force", "Whether history may be rewritten.", yesNo),
			one("delete", "Whether refs may be deleted.", yesNo),
			choice("mode", "Forward at once, or hold for the operator.", "forward", "hold"),
			words("protect", `Globs of branches that are pushed to only if refs names them in full; the default branch always is one. By default main, master, release/** and the like.`),
			property{key: "paths", shape: shape{doc: "What becomes of pushes that change files, by glob: allow, hold or refuse. By default what servers and other people's tools act on (workflows, CODEOWNERS, .gitattributes, hooks, …) is held.", kind: mapping,
				items: &shape{kind: word, words: []string{"allow", "hold", "refuse"}}}},
			choice("authors", "Whether commits must carry the agent's own name (git_identity), or may carry any.", "own", "any")),
	}}
}
