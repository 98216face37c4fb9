package bottle

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/bot-bottle/bot-bottle/internal/manifest"
)

// Digest names what the manifest says of a bottle and its agent: two runs with the same
// digest were asked for the same. It covers no secret's value.
func (r Resolved) Digest() string {
	data, err := json.Marshal(struct {
		Agent  manifest.Agent
		Bottle manifest.Bottle
	}{r.Agent, r.Bottle})
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
