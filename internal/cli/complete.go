package cli

import (
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

// Completion never prints an error: it has nothing to offer then. A shell waits for it at every
// TAB, so what has not answered in a second is not offered.
const completionTime = time.Second

// completes reports whether a shell asks how a line may go on.
func completes(args []string) bool {
	return len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd)
}

func (a *App) completeAgents(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	m, err := a.manifest()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.Sorted(maps.Keys(m.Agents)), cobra.ShellCompDirectiveNoFileComp
}

func (a *App) completeRunning(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	running, err := a.active(c.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, b := range running {
		if !slices.Contains(args, b.Slug) {
			names = append(names, b.Slug)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (a *App) completeRecorded(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	names, _ := a.store().Identities()
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeLogged offers every bottle on record, once.
func (a *App) completeLogged(c *cobra.Command, args []string, so string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeRecorded(c, args, so)
}

func (a *App) completeBackends(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	all, err := a.backends()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, b := range all {
		names = append(names, b.Name())
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
