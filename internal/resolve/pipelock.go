package resolve

// Pipelock is which pipelock a bottle gets (docs/pipelock.md).
type Pipelock struct {
	Image      string // reference or id that the backend knows it by, once it has it
	Binary     string // on this host, that the image is made of; "" for an image of its maker's
	Hash       string // of Binary
	Fetch      bool   // the backend does not have the image yet
	MinVersion string
	Answers    bool // it looks at what upstreams answer as well
}

// Program says what runs, for people and for the log.
func (p Pipelock) Program() string {
	if p.Binary != "" {
		return p.Binary + " sha256:" + p.Hash
	}
	return p.Image
}

func (p Pipelock) String() string {
	text := p.Program()
	if p.Fetch {
		text += " (will be fetched)"
	}
	if p.MinVersion != "" {
		text += ", version " + p.MinVersion + " or later"
	}
	if !p.Answers {
		text += "; answers are not looked at"
	}
	return text
}
