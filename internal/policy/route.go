// Package policy decides what a bottle may reach.
//
// It is pure: no clock, no network, no files. The same code explains a decision
// to the operator and enforces it in egress. It must never guess: whatever is
// ambiguous is refused.
package policy

// Protocol says how a route's bytes are treated.
type Protocol string

const (
	HTTPS Protocol = "https" // TLS terminated by egress, HTTP inspected; the default
	HTTP  Protocol = "http"  // plain HTTP, inspected
	TCP   Protocol = "tcp"   // bytes, not inspected
)

// Route is one thing that a bottle may reach. Its zero fields mean the default
// of DESIGN §8; Normalize fills them in.
type Route struct {
	Host     string   `json:"host"`               // exact, "*." one label, "**." any depth; neither matches the apex
	Port     int      `json:"port,omitempty"`     // 443 for https, 80 for http
	Protocol Protocol `json:"protocol,omitempty"` // https
	Methods  []string `json:"methods,omitempty"`  // empty: any
	Paths    []string `json:"paths,omitempty"`    // globs, empty: any
	Auth     *Auth    `json:"auth,omitempty"`
	CA       string   `json:"ca,omitempty"`      // PEM, extra trust for this route
	Address  string   `json:"address,omitempty"` // dial host:port here instead of resolving Host
	Private  bool     `json:"private,omitempty"` // may dial private, loopback and link-local addresses (never metadata)
}

// Scheme is how a credential is put on a request.
type Scheme string

const (
	Bearer Scheme = "bearer" // Authorization: Bearer <secret>
	Header Scheme = "header" // <Header>: <secret>
	Basic  Scheme = "basic"  // Authorization: Basic base64(<User>:<secret>)
)

// Auth names the credential that egress puts on a route's requests. It never
// holds the credential itself.
type Auth struct {
	Scheme Scheme `json:"scheme"`
	Header string `json:"header,omitempty"` // for Header
	User   string `json:"user,omitempty"`   // for Basic
	Secret string `json:"secret"`           // a name in the bottle's secrets
}
