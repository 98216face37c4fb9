//go:build linux

package main

import (
	"fmt"
	"strings"
)

// usage is an error of clap's: exit status 2.
type usage string

func (u usage) Error() string { return string(u) }

type flag struct {
	long  string
	short rune
	value bool // it takes one; all may be repeated
}

// parsed is what a command line says.
type parsed struct {
	values map[string][]string
	args   []string
	after  []string // behind --
}

func (p parsed) has(name string) bool { return len(p.values[name]) > 0 }

// last is a flag's value: of several, the last one.
func (p parsed) last(name string) string {
	if all := p.values[name]; len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}

// parse reads arguments as clap does: what is not known is an error.
func (v verb) parse(args []string) (parsed, error) {
	p := parsed{values: map[string][]string{}}
	for len(args) > 0 {
		arg := args[0]
		switch {
		case arg == "--" && v.trailing:
			p.after = args[1:]
			return p, v.complete(p)
		case arg == "--":
			p.args = append(p.args, args[1:]...)
			return p, v.complete(p)
		case strings.HasPrefix(arg, "--"):
			rest, err := v.long(p, arg[2:], args[1:])
			if err != nil {
				return p, err
			}
			args = rest
		case strings.HasPrefix(arg, "-") && len(arg) > 1:
			rest, err := v.short(p, arg[1:], args[1:])
			if err != nil {
				return p, err
			}
			args = rest
		default:
			p.args = append(p.args, arg)
			args = args[1:]
		}
	}
	return p, v.complete(p)
}

func (v verb) complete(p parsed) error {
	if len(p.args) > v.positional {
		return usage(fmt.Sprintf("unexpected argument '%s' found", p.args[v.positional]))
	}
	if len(p.args) < v.positional {
		return usage("the following required arguments were not provided:\n  <SRC> <DST>")
	}
	return nil
}

func (v verb) long(p parsed, arg string, rest []string) ([]string, error) {
	name, value, given := strings.Cut(arg, "=")
	for _, f := range v.flags {
		if f.long != name {
			continue
		}
		switch {
		case !f.value && given:
			return nil, usage(fmt.Sprintf("unexpected value '%s' for '--%s' found; no more were expected", value, name))
		case !f.value:
			p.values[name] = append(p.values[name], "")
			return rest, nil
		case given:
			p.values[name] = append(p.values[name], value)
			return rest, nil
		}
		return v.take(p, f, rest)
	}
	return nil, usage(fmt.Sprintf("unexpected argument '--%s' found", name))
}

func (v verb) take(p parsed, f flag, rest []string) ([]string, error) {
	if len(rest) == 0 || strings.HasPrefix(rest[0], "-") && rest[0] != "-" {
		return nil, usage(fmt.Sprintf("a value is required for '--%s <%s>' but none was supplied", f.long, strings.ToUpper(f.long)))
	}
	p.values[f.long] = append(p.values[f.long], rest[0])
	return rest[1:], nil
}

// short reads -x, -xVALUE, -x VALUE and -xy.
func (v verb) short(p parsed, letters string, rest []string) ([]string, error) {
	for i, letter := range letters {
		found := false
		for _, f := range v.flags {
			if f.short != letter {
				continue
			}
			found = true
			if !f.value {
				p.values[f.long] = append(p.values[f.long], "")
				break
			}
			if after := letters[i+1:]; after != "" {
				p.values[f.long] = append(p.values[f.long], strings.TrimPrefix(after, "="))
				return rest, nil
			}
			return v.take(p, f, rest)
		}
		if !found {
			return nil, usage(fmt.Sprintf("unexpected argument '-%c' found", letter))
		}
	}
	return rest, nil
}
