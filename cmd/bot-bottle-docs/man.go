package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/bot-bottle/bot-bottle/internal/cli"
)

// writePages writes the page of a command and of what is below it into dir.
func writePages(c *cobra.Command, dir string, date time.Time) error {
	if c.Hidden {
		return nil
	}
	err := os.WriteFile(filepath.Join(dir, pageName(c)+".1"), []byte(page(c, date)), 0o644)
	for _, sub := range c.Commands() {
		err = errors.Join(err, writePages(sub, dir, date))
	}
	return err
}

// page is the manual page of one command, as man(7) reads it.
func page(c *cobra.Command, date time.Time) string {
	var b strings.Builder
	section := func(title string) { b.WriteString(".SH " + title + "\n") }
	fmt.Fprintf(&b, ".TH %q 1 %q bot-bottle \"User Commands\"\n.nh\n.ad l\n", strings.ToUpper(pageName(c)), date.Format("2006-01-02"))
	section("NAME")
	fmt.Fprintf(&b, "%s \\- %s\n", literal(pageName(c)), literal(c.Short))
	section("SYNOPSIS")
	fmt.Fprintf(&b, "%s\n", literal(cli.UsageLine(c)))
	section("DESCRIPTION")
	for _, paragraph := range cli.Words(c) {
		b.WriteString(".PP\n" + literal(paragraph) + "\n")
	}
	for _, g := range cli.Groups(c) {
		section(strings.ToUpper(g.Title))
		for _, sub := range g.Commands {
			fmt.Fprintf(&b, ".TP\n.BR %s (1)\n%s.\n", literal(pageName(sub)), literal(sub.Short))
		}
	}
	if !c.HasSubCommands() && !c.DisableFlagsInUseLine {
		section("OPTIONS")
		c.LocalFlags().VisitAll(func(f *pflag.Flag) { b.WriteString(option(f)) })
	}
	if c.Example != "" {
		section("EXAMPLES")
		b.WriteString(".nf\n" + literal(c.Example) + "\n.fi\n")
	}
	if c.HasParent() {
		section("SEE ALSO")
		fmt.Fprintf(&b, ".BR %s (1)\n", literal(pageName(c.Parent())))
	}
	return b.String()
}

// option is a flag and what it does.
func option(f *pflag.Flag) string {
	if f.Hidden {
		return ""
	}
	name := `\fB` + literal("--"+f.Name) + `\fR`
	if f.Shorthand != "" {
		name = `\fB` + literal("-"+f.Shorthand) + `\fR, ` + name
	}
	argument, usage := pflag.UnquoteUsage(f)
	if argument != "" {
		name += ` \fI` + literal(argument) + `\fR`
	}
	if !slices.Contains([]string{"", "false", "[]", "0", "0s"}, f.DefValue) && !strings.Contains(usage, "(default") {
		usage += " (default " + f.DefValue + ")"
	}
	return ".TP\n" + name + "\n" + literal(usage) + "\n"
}

// pageName is the name of a command's page.
func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// literal is a text that man(7) finds no word of its own in.
func literal(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
