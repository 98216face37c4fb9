package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/bot-bottle/bot-bottle/internal/manifest"
	"github.com/bot-bottle/bot-bottle/internal/plain"
)

func (a *App) validate() *cobra.Command {
	var schema, asJSON bool
	c := &cobra.Command{
		Use:   "validate",
		Short: "Check every agent and bottle of the manifest",
		Long: `Validate reads every agent and bottle, those of the repository at hand as well, and
reports all problems at once. It resolves no secret and starts nothing.`,
		Example: `  bot-bottle validate
  bot-bottle validate --schema > bot-bottle.schema.json`,
		Args: nothing,
		RunE: func(*cobra.Command, []string) error {
			if schema {
				_, err := a.Stdout.Write(manifest.Schema())
				return err
			}
			return a.runValidate(asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the problems as a JSON array")
	c.Flags().BoolVar(&schema, "schema", false, "print the JSON Schema of the front matter")
	return c
}

func (a *App) runValidate(asJSON bool) error {
	m, err := a.manifest()
	if err != nil {
		return err
	}
	if asJSON {
		if err := printJSON(a.Stdout, append([]manifest.Problem{}, m.Problems...), false); err != nil || len(m.Problems) == 0 {
			return err
		}
		return status(exitFailure)
	}
	if len(m.Problems) > 0 {
		return m.Problems
	}
	if len(m.Agents) == 0 {
		a.noAgentYet()
	}
	_, err = fmt.Fprintf(a.Stdout, "ok: %s, %s\n", plain.Count(len(m.Agents), "agent"), plain.Count(len(m.Bottles), "bottle"))
	return err
}

// noAgentYet tells somebody who has just begun how to go on.
func (a *App) noAgentYet() {
	a.say("there is no agent yet; to write a first one and its bottle: bot-bottle init")
}
