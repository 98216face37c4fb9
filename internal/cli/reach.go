package cli

import (
	"context"
	"fmt"

	"github.com/bot-bottle/bot-bottle/internal/bottle"
	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/requests"
	"github.com/bot-bottle/bot-bottle/internal/secret"
)

// reach is the credential that the operator names for a new repository; nil for what was
// shown. The agent has no say in it.
func (a *App) reach(ctx context.Context, s requests.Shown, flags approval) (*requests.Credential, error) {
	named := flags.keyFrom != "" || flags.noCredential || flags.user != "" || flags.secretFrom != ""
	if s.Kind != requests.Repo {
		if flags.keyFrom != "" || flags.noCredential || flags.user != "" {
			return nil, &usageError{what: s.ID + " asks for no repository", hint: "leave --key-from, --user and --no-credential out"}
		}
		return nil, nil
	}
	address, _ := manifest.ParseAddress(s.Git.Upstream)
	switch {
	case !named:
		return nil, nil
	case !s.Git.New || s.Git.Of != "":
		return nil, &usageError{what: "the bottle has " + s.Git.Repository + ", with its credential", hint: "leave --key-from, --secret-from and --no-credential out"}
	case flags.noCredential && address.Scheme == "https":
		return &requests.Credential{}, nil
	case address.Scheme == "ssh" && flags.keyFrom != "":
		return a.keyOf(s, flags.keyFrom)
	case address.Scheme == "https" && flags.secretFrom != "":
		return a.tokenOf(ctx, s, flags)
	}
	return nil, &usageError{what: "that is not how " + s.Git.Upstream + " is reached", hint: "--key-from FILE for ssh; --secret-from with --user, or --no-credential, for https"}
}

// keyOf reads a key, and who the host is, as a start would.
func (a *App) keyOf(s requests.Shown, file string) (*requests.Credential, error) {
	found, err := bottle.FindRepository(manifest.GitRepo{Name: s.Git.Repository, Upstream: s.Git.Upstream, IdentityFile: a.absolute(file)}, secret.Value{})
	if err != nil {
		return nil, err
	}
	return &requests.Credential{Key: found.Key.Reveal(), KnownHosts: found.Hosts}, nil
}

// tokenOf reads a token. Most forges look at it, and not at the user.
func (a *App) tokenOf(ctx context.Context, s requests.Shown, flags approval) (*requests.Credential, error) {
	value, err := a.supply(ctx, s, flags.secretFrom)
	if err != nil {
		return nil, err
	}
	user := flags.user
	if user == "" {
		user = "git"
	}
	return &requests.Credential{User: user, Password: value}, nil
}

// reachText says which credential the operator has named, in place of the one shown.
func reachText(s requests.Shown, flags approval) string {
	switch {
	case s.Kind != requests.Repo:
		return ""
	case flags.keyFrom != "":
		return fmt.Sprintf("  %-8s %s\n", "but with", cell("the key "+flags.keyFrom))
	case flags.secretFrom != "":
		return fmt.Sprintf("  %-8s %s\n", "but with", cell("the token from "+flags.secretFrom))
	case flags.noCredential:
		return fmt.Sprintf("  %-8s %s\n", "but with", "no credential")
	}
	return ""
}
