package manifest

import (
	"errors"
	"io/fs"
	"net/netip"
	"net/url"
	"path/filepath"
)

// Config is $BOT_BOTTLE_HOME/config.yaml: what is the operator's own, and of no bottle.
type Config struct {
	Notify        Notify
	DetachKeys    string   // that leave a session, as docker's --detach-keys; "": the usual ones
	TerminalAllow []string // what an agent may do to the terminal beyond its screen
	Prices        string   // a file with what models cost; "": the list prices that come with the program
}

// Notify is how the operator is told that a request waits.
type Notify struct {
	NoDesktop bool     // no notification of the desktop
	Command   []string // run besides; empty: none
	Webhook   string   // posted to besides; "": none
}

func configShape() *shape {
	return &shape{kind: object, doc: "What is the operator's own.", fields: []property{
		group("notify", "How the operator is told that a request waits.",
			one("desktop", "Whether the desktop shows it; yes by default.", yesNo),
			words("command", "A command to run, as a list of words."),
			one("webhook", "An https URL to post to.", word)),
		one("detach_keys", "The keys that leave a session, for example ctrl-p,ctrl-q, or none.", word),
		words("terminal_allow", "What an agent may do to the terminal beyond its screen."),
		one("prices", "A file with what models cost, as report --prices takes it.", word),
	}}
}

// LoadConfig reads the file in home; there need not be one. An error is Problems.
func LoadConfig(home string) (Config, error) {
	file := filepath.Join(home, "config.yaml")
	data, err := readFile(file, true)
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, nil
	}
	var problems Problems
	if err != nil {
		problems.add(file, 0, "%v", err)
		return Config{}, problems
	}
	if len(data) > maxMatter || nesting(string(data)) > maxNesting {
		problems.add(file, 0, "it is too large")
		return Config{}, problems
	}
	root := parse(file, string(data), &problems)
	check(root, configShape(), "", &problems)
	var c Config
	if root != nil && len(problems) == 0 {
		c.read(root, &problems)
	}
	for i := range problems { // the lines are counted as behind a front matter's first
		problems[i].Line = max(0, problems[i].Line-1)
	}
	if len(problems) > 0 {
		return Config{}, problems
	}
	return c, nil
}

func (c *Config) read(root *value, problems *Problems) {
	c.DetachKeys, c.TerminalAllow, c.Prices = text(root.get("detach_keys")), texts(root.get("terminal_allow")), text(root.get("prices"))
	n := root.get("notify")
	if n == nil {
		return
	}
	c.Notify = Notify{NoDesktop: n.get("desktop") != nil && !truth(n.get("desktop")), Command: texts(n.get("command")), Webhook: text(n.get("webhook"))}
	if w := n.get("webhook"); w != nil && !postable(c.Notify.Webhook) {
		problems.add(w.file, w.line, "notify.webhook must be an https URL, or http to this machine")
	}
	if w := n.get("command"); w != nil && (len(c.Notify.Command) == 0 || c.Notify.Command[0] == "") {
		problems.add(w.file, w.line, "notify.command names no program")
	}
}

// postable reports whether nobody but who is meant can read what is posted.
func postable(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	here := u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
	return u.Scheme == "https" || u.Scheme == "http" && here
}
