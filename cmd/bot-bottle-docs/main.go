// Command bot-bottle-docs writes manual pages and shell completions into a directory, from
// the same descriptions as --help. It is for packages, and not part of them.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/bot-bottle/bot-bottle/internal/cli"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: bot-bottle-docs DIRECTORY")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "bot-bottle-docs:", err)
		os.Exit(1)
	}
}

// write puts man1/*.1 and completions/ into dir.
func write(dir string) error {
	man, completions := filepath.Join(dir, "man1"), filepath.Join(dir, "completions")
	if err := errors.Join(os.MkdirAll(man, 0o755), os.MkdirAll(completions, 0o755)); err != nil {
		return err
	}
	root := cli.Command()
	if err := writePages(root, man, when()); err != nil {
		return err
	}
	return errors.Join(
		root.GenBashCompletionFileV2(filepath.Join(completions, "bot-bottle.bash"), true),
		root.GenZshCompletionFile(filepath.Join(completions, "_bot-bottle")),
		root.GenFishCompletionFile(filepath.Join(completions, "bot-bottle.fish"), true),
	)
}

// when is $SOURCE_DATE_EPOCH (reproducible-builds.org), so that the same source makes the same
// pages.
func when() time.Time {
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return time.Now()
	}
	return time.Unix(seconds, 0).UTC()
}
