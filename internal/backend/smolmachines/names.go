package smolmachines

import (
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
)

// Labels that every machine of ours carries. Nothing is done to a machine without labelOwner set
// to this $BOT_BOTTLE_HOME's own name.
const (
	labelOwner    = "bot-bottle.owner"
	labelIdentity = "bot-bottle.identity"
	labelAgent    = "bot-bottle.agent"
	labelRemove   = "bot-bottle.remove"
	labelSockets  = "bot-bottle.sockets" // the directory that its mounted sockets are in, for life
	labelSchema   = "bot-bottle.schema"
)

const schema = "1"

// machineName names a bottle's machine: lower case, digits and single hyphens, which every
// version takes. Two identities that come to one name do not run side by side: the label says
// whose it is.
func machineName(identity string) string {
	name := "bb-" + identity
	for strings.Contains(name, "--") {
		name = strings.ReplaceAll(name, "--", "-")
	}
	return name
}

func (p Plan) labels() map[string]string {
	remove := "false"
	if p.Remove {
		remove = "true"
	}
	return map[string]string{
		labelOwner: p.Owner, labelIdentity: p.Identity, labelAgent: p.Agent, labelRemove: remove, labelSockets: p.Dir, labelSchema: schema,
	}
}

// ours reports whether a machine is one of this $BOT_BOTTLE_HOME's, and whose.
func (m machine) ours(owner string) (identity string, yes bool) {
	identity = m.Labels[labelIdentity]
	return identity, m.Labels[labelOwner] == owner && bottle.ValidIdentity(identity) && m.Name == machineName(identity)
}
