package manifest

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

func (l *loader) secrets(v *value) map[string]SecretSource {
	if v == nil {
		return nil
	}
	sources := make(map[string]SecretSource)
	for _, f := range v.fields {
		l.variable(f)
		if named := sourcesIn(f.value); len(named) != 1 {
			l.problems.add(f.file, f.line, "secrets.%s needs exactly one of %s", f.key, strings.Join(sourceKeys(), ", "))
			continue
		}
		sources[f.key] = l.secret(f)
	}
	return sources
}

// sourceKeys are the keys that say where a secret comes from.
func sourceKeys() []string {
	keys := []string{"env", "command", "file", "login"}
	for _, k := range Keepers() {
		keys = append(keys, string(k))
	}
	return keys
}

func sourcesIn(v *value) (named []string) {
	for _, key := range sourceKeys() {
		if v.get(key) != nil {
			named = append(named, key)
		}
	}
	return named
}

func (l *loader) secret(f field) SecretSource {
	s := SecretSource{Env: text(f.value.get("env")), Command: l.command(f.value.get("command")), File: l.path(f.value.get("file")), Login: text(f.value.get("login"))}
	for _, k := range Keepers() {
		if at := f.value.field(string(k)); at != nil {
			s.Keeper = k
			s.Entry = l.entry(f.key, k, at)
		}
	}
	if s.Env == "" && len(s.Command) == 0 && s.File == "" && s.Login == "" && len(s.Entry) == 0 {
		l.problems.add(f.file, f.line, "secrets.%s: its source is empty", f.key)
	}
	s.Account = l.account(f, s)
	s.TTL = l.ttl(f, s)
	return s
}

// entry reads which of a keeper's secrets it is. It becomes an argument of the keeper's
// program, which must not take it for an option.
func (l *loader) entry(name string, k Keeper, at *field) []string {
	var words []string
	if k == KeeperSecretService {
		for _, attribute := range at.value.fields {
			words = append(words, attribute.key, text(attribute.value))
		}
	} else if word := text(at.value); word != "" {
		words = []string{word}
	}
	if slices.ContainsFunc(words, unfit) {
		l.problems.add(at.file, at.line, "secrets.%s.%s is empty somewhere, begins with -, or holds a control character", name, k)
	}
	if k == KeeperOnePassword && len(words) > 0 && !strings.HasPrefix(words[0], "op://") {
		l.problems.add(at.file, at.line, "secrets.%s.%s is a reference such as op://Private/GitHub/token", name, k)
	}
	return words
}

// unfit reports whether a word cannot be an argument as it stands.
func unfit(word string) bool {
	return word == "" || word[0] == '-' || strings.ContainsFunc(word, func(r rune) bool { return r < 0x20 || r == 0x7f })
}

func (l *loader) account(f field, s SecretSource) string {
	at := f.value.get("account")
	switch {
	case at == nil:
		return ""
	case s.Keeper != KeeperKeychain:
		l.problems.add(at.file, at.line, "secrets.%s: account is for a keychain", f.key)
	case unfit(text(at)):
		l.problems.add(at.file, at.line, "secrets.%s: account is empty, begins with -, or holds a control character", f.key)
	}
	return text(at)
}

// minTTL keeps a command that asks for a fingerprint from asking all the time.
const minTTL = 30 * time.Second

func (l *loader) ttl(f field, s SecretSource) time.Duration {
	v := f.value.get("ttl")
	if v == nil {
		return 0
	}
	d, err := time.ParseDuration(text(v))
	switch {
	case cmp.Or(s.Env, s.File, s.Login) != "":
		l.problems.add(v.file, v.line, "secrets.%s: ttl is for what a command gives", f.key)
	case err != nil || d < minTTL:
		l.problems.add(v.file, v.line, "secrets.%s: ttl %q is not a duration of at least %s, such as 45m", f.key, text(v), minTTL)
	}
	return d
}
