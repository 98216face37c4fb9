// Package policy decides what a bottle may reach.
//
// It is pure: no clock, no network, no files. The same code explains a decision
// to the operator and enforces it in egress. It must never guess: whatever is
// ambiguous is refused.
package policy

import "github.com/bot-bottle/bot-bottle/internal/dlp"

// Protocol says how a route's bytes are treated.
type Protocol string

const (
	HTTPS Protocol = "https" // TLS terminated by egress, HTTP inspected; the default
	HTTP  Protocol = "http"  // plain HTTP, inspected
	TCP   Protocol = "tcp"   // bytes, not inspected
)

// Policy is all that is said about a bottle's traffic.
type Policy struct {
	Routes []Route `json:"routes,omitempty"`
	Deny   []Deny  `json:"deny,omitempty"`
	Limits *Limits `json:"limits,omitempty"` // of all routes together
}

// Route is one thing that a bottle may reach. Its zero fields mean the default
// of DESIGN §8; Normalize fills them in. All conditions that it names must hold.
type Route struct {
	Host     string                `json:"host"`               // exact, "*." one label, "**." any depth; neither matches the apex
	Port     int                   `json:"port,omitempty"`     // 443 for https, 80 for http
	Protocol Protocol              `json:"protocol,omitempty"` // https
	Methods  []string              `json:"methods,omitempty"`  // empty: any
	Paths    []string              `json:"paths,omitempty"`    // globs, empty: any
	Query    map[string]string     `json:"query,omitempty"`    // parameter → value or glob
	Body     map[string]string     `json:"body,omitempty"`     // field of the JSON body, dots between → value or glob
	Deny     []Deny                `json:"deny,omitempty"`     // for this route's host and port; they win over every route
	Limits   *Limits               `json:"limits,omitempty"`
	Auth     *Auth                 `json:"auth,omitempty"`
	Scan     map[string]dlp.Action `json:"scan,omitempty"`     // by rule of the scanner; before those of the bottle
	Pipelock *Pipelock             `json:"pipelock,omitempty"` // nil: the defaults, where the bottle has it
	LogPath  LogPath               `json:"log_path,omitempty"`
	CA       string                `json:"ca,omitempty"`      // PEM, extra trust for this route
	Address  string                `json:"address,omitempty"` // dial host:port here instead of resolving Host
	Private  bool                  `json:"private,omitempty"` // may dial private, loopback and link-local addresses (never metadata)
	Grant    string                `json:"grant,omitempty"`   // the request that it was granted by; "" for one of the manifest
}

// Pipelock is what a route has pipelock look at, where the bottle has it.
type Pipelock struct {
	Off    bool  `json:"off,omitempty"`    // nothing
	Budget int64 `json:"budget,omitempty"` // bytes of a body that it has not seen before; 0 is the default
	Over   Over  `json:"over,omitempty"`   // what becomes of a body with more; "" is OverDeny

	NoAnswers bool `json:"no_answers,omitempty"` // it does not look at answers
}

// Over is what becomes of a body that is over the budget.
type Over string

const (
	OverDeny  Over = "deny"
	OverAllow Over = "allow" // it goes unseen by pipelock, and the log says so
)

// LogPath is what the log tells of the paths of a route's requests. A refusal that no route
// decided is logged with its path redacted.
type LogPath string

const (
	LogRedacted LogPath = "redacted" // without what looks like a key, a person, an identifier; the default, also ""
	LogFull     LogPath = "full"
	LogNone     LogPath = "none"
)

// Deny is what a bottle may not do, whatever a route allows. All conditions that it
// names must hold; what could be read as meeting them is refused as well. One without
// methods, paths, query and body denies the host itself, also for protocol tcp, which
// the others cannot look into.
type Deny struct {
	Host    string            `json:"host,omitempty"` // empty: any; in a route, that of the route
	Port    int               `json:"port,omitempty"` // 0: any; in a route, that of the route
	Methods []string          `json:"methods,omitempty"`
	Paths   []string          `json:"paths,omitempty"`
	Query   map[string]string `json:"query,omitempty"`
	Body    map[string]string `json:"body,omitempty"`
}

// Scheme is how a credential is put on a request.
type Scheme string

const (
	Bearer      Scheme = "bearer"      // Authorization: Bearer <secret>
	Basic       Scheme = "basic"       // Authorization: Basic base64(<User>:<secret>)
	Header      Scheme = "header"      // <Header>: <secret>
	Query       Scheme = "query"       // ?<Parameter>=<secret>
	Placeholder Scheme = "placeholder" // wherever the secret's placeholder stands in the head
)

// Auth names the credential that egress puts on a route's requests. It never
// holds the credential itself.
type Auth struct {
	Scheme     Scheme   `json:"scheme"`
	Header     string   `json:"header,omitempty"`      // for Header
	User       string   `json:"user,omitempty"`        // for Basic
	Parameter  string   `json:"parameter,omitempty"`   // for Query
	Secret     string   `json:"secret"`                // a name in the bottle's secrets
	FormFields []string `json:"form_fields,omitempty"` // carried in forms, though they are called like credentials
}
