package manifest

import "strings"

// CheckRefs refuses a glob that can match no ref, or not what it seems to.
func CheckRefs(glob string) error { return checkRefs(glob) }

// CheckUpstream refuses a URL that the gate does not speak, that git would take for an
// option or a program, or that holds a credential.
func CheckUpstream(address string) error { return checkUpstream(address) }

// Rewrite is a section of a git configuration that leads git to the gate at base, which
// ends with a slash, however the repository is spelt (git-config(1), url.<base>.insteadOf).
func (a Address) Rewrite(base string) string {
	b := &strings.Builder{}
	b.WriteString("[url " + QuotedValue(base+a.Place()) + "]\n")
	for _, spelling := range a.Spellings() {
		b.WriteString("\tinsteadOf = " + QuotedValue(spelling) + "\n")
	}
	return b.String()
}

// QuotedValue is a value of git-config(1).
func QuotedValue(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`).Replace(s) + `"`
}
