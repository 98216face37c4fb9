package guest

// outcome answers an Order.
type outcome struct {
	Error string `json:"error,omitempty"`
}

// Where a guest in a machine keeps things. All is root's.
const (
	environmentFile = "/etc/bot-bottle/environment.json" // what every process in the bottle sees
	transcriptFile  = "/var/lib/bot-bottle/transcript"
)
