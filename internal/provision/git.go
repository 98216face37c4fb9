package provision

import "github.com/bot-bottle/bot-bottle/internal/manifest"

// Git makes the agent's commits carry its own name (git(1), environment variables).
func Git(a *Archive, id manifest.GitIdentity) {
	if id.Name != "" {
		a.Setenv("GIT_AUTHOR_NAME", id.Name)
		a.Setenv("GIT_COMMITTER_NAME", id.Name)
	}
	if id.Email != "" {
		a.Setenv("GIT_AUTHOR_EMAIL", id.Email)
		a.Setenv("GIT_COMMITTER_EMAIL", id.Email)
	}
}
