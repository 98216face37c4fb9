//go:build linux

// Command smolvm stands in for the real one, whose hypervisor the machines that bot-bottle is
// made on do not have. It reads its arguments as strictly, keeps the same states, prints the
// same texts and exits with the same statuses, as far as its source and its public threads
// tell (docs/smolmachines.md).
//
// A machine is no virtual machine here: its guest runs in namespaces of its own (user, mount,
// pid, net, uts, ipc), with no interface but loopback, on a root file system unpacked from the
// archive. So the sockets, the guest, its self-check and attacks from inside are real; that a
// hypervisor keeps the guest in is not shown by any test that runs on this.
//
// Its state is in $SMOLVM_DATA_DIR: machines.json, calls.jsonl (what it was called with), and
// faults.json, which a test writes to make it fail (fault.go).
package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

const version = "1.9.2"

func main() { os.Exit(run(os.Args[1:])) }

// run returns the exit status.
func run(args []string) int {
	if len(args) > 0 && strings.HasPrefix(args[0], "_") {
		return inner(args)
	}
	s := openStore()
	s.record(args)
	s.stall("all")
	code, err := s.dispatch(args)
	var misused usage
	switch {
	case errors.As(err, &misused):
		_, _ = fmt.Fprintf(os.Stderr, "error: %s\n\nFor more information, try '--help'.\n", misused)
		return 2
	case err != nil:
		_, _ = fmt.Fprintln(os.Stderr, "Error: "+err.Error())
		return 1
	}
	return code
}

func (s *store) dispatch(args []string) (int, error) {
	if s.fault("product") == "other" { // CelestoAI/SmolVM installs a smolvm, too
		return 2, s.otherProduct(args)
	}
	if len(args) == 0 {
		return 0, usage("a subcommand is required")
	}
	switch args[0] {
	case "--version", "-V":
		v := version
		if said := s.fault("version"); said != "" {
			v = said
		}
		fmt.Println("smolvm " + v)
		return 0, nil
	case "--help", "-h", "help":
		fmt.Println("Usage: smolvm <COMMAND>\n\nCommands:\n  machine\n  serve\n  pack\n  config")
		return 0, nil
	case "machine", "vm":
		return s.machine(args[1:])
	}
	return 0, usage(fmt.Sprintf("unrecognized subcommand '%s'", args[0]))
}

// otherProduct is a program of the same name that knows none of this.
func (s *store) otherProduct(args []string) error {
	if len(args) == 1 && args[0] == "--version" {
		fmt.Println("smolvm 0.0.13")
		os.Exit(0)
	}
	return usage("No such command '" + strings.Join(args, " ") + "'.")
}

// verb is one of machine's.
type verb struct {
	flags      []flag
	positional int  // how many arguments it wants
	trailing   bool // what follows -- is a command
	run        func(*store, parsed) (int, error)
}

func verbs() map[string]verb {
	name := flag{long: "name", short: 'n', value: true}
	asJSON := flag{long: "json"}
	return map[string]verb{
		"create": {flags: createFlags(), trailing: true, run: (*store).create},
		"start": {flags: []flag{name, {long: "forkable"}, {long: "fork-pool-size", value: true}, {long: "cuda-vram-limit-mib", value: true},
			{long: "proxy", value: true}, {long: "no-proxy", value: true}}, run: (*store).start},
		"stop":     {flags: []flag{name}, run: (*store).stop},
		"delete":   {flags: []flag{name, {long: "force", short: 'f'}, {long: "cascade"}}, run: (*store).remove},
		"status":   {flags: []flag{name, asJSON}, run: (*store).status},
		"ls":       {flags: []flag{asJSON, {long: "verbose", short: 'v'}}, run: (*store).list},
		"data-dir": {flags: []flag{name}, run: (*store).dataDir},
		"exec": {flags: []flag{{long: "name", value: true}, {long: "workdir", short: 'w', value: true}, {long: "env", short: 'e', value: true},
			{long: "secret-env", value: true}, {long: "secret-file", value: true}, {long: "timeout", value: true}, {long: "interactive", short: 'i'},
			{long: "tty", short: 't'}, {long: "stream"}, {long: "detach", short: 'd'}}, trailing: true, run: (*store).exec},
		"cp": {flags: []flag{{long: "mode", value: true}, {long: "uid", value: true}, {long: "gid", value: true}}, positional: 2, run: (*store).cp},
	}
}

func (s *store) machine(args []string) (int, error) {
	if len(args) == 0 {
		return 0, usage("'smolvm machine' requires a subcommand but one was not provided")
	}
	name := map[string]string{"rm": "delete", "list": "ls"}[args[0]]
	if name == "" {
		name = args[0]
	}
	v, ok := s.verb(name)
	if !ok {
		return 0, usage(fmt.Sprintf("unrecognized subcommand '%s'", args[0]))
	}
	if len(args) > 1 && (args[1] == "--help" || args[1] == "-h") {
		help(name, v)
		return 0, nil
	}
	p, err := v.parse(args[1:])
	if err != nil {
		return 0, err
	}
	s.stall(name)
	if key, text := s.of(name, p); text != "" {
		if code, done := s.fail(key, text); done {
			return code, nil
		}
	}
	return v.run(s, p)
}

// verb is one of this version.
func (s *store) verb(name string) (verb, bool) {
	v, ok := verbs()[name]
	lacks, flags, _ := strings.Cut(s.fault("without"), " ")
	if lacks != name {
		return v, ok
	}
	v.flags = slices.DeleteFunc(v.flags, func(f flag) bool { return slices.Contains(strings.Fields(flags), "--"+f.long) })
	return v, ok && flags != ""
}

func help(name string, v verb) {
	fmt.Printf("Usage: smolvm machine %s [OPTIONS]\n\nOptions:\n", name)
	for _, f := range v.flags {
		line := "      --" + f.long
		if f.short != 0 {
			line = fmt.Sprintf("  -%c, --%s", f.short, f.long)
		}
		if f.value {
			line += " <" + strings.ToUpper(f.long) + ">"
		}
		fmt.Println(line)
	}
}
