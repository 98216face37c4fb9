package provision

import (
	"context"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/manifest"
)

// Origin is where the repository at dir says that it came from, if the gate could go there;
// "" otherwise. It is the repository's word, which may be hostile: show it before it is used.
func Origin(ctx context.Context, dir string) string {
	out, err := git(ctx, dir, "config", "--local", "--no-includes", "-z", "--get", "remote.origin.url")
	url := strings.TrimSuffix(string(out), "\x00")
	if err != nil || manifest.CheckUpstream(url) != nil {
		return ""
	}
	return url
}
