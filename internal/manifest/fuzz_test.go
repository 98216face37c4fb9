package manifest

import (
	"slices"
	"strings"
	"testing"
)

// FuzzAgentsAndExtends reads hostile bytes as an agent, as a bottle, and as a bottle that another
// extends: it never panics, every problem is one line with a place in a file, and
// what has a problem cannot be used.
func FuzzAgentsAndExtends(f *testing.F) {
	f.Add(example)
	for _, front := range []string{
		"bottle: b\nskills: [a]", "extends: child", "extends: b", "env: {A: x, A: y}", "secrets:\n  K:\n", "egress: {routes: [{host: a.example, auth: {scheme: x}}]}",
		"git:\n  -\n", "? a\n: b", "<<: {a: b}", "a: &x [*x]", "%YAML 1.2", "a: |\n  b\n...\nc: d", "resources: {cpus: .inf, memory: 0x1g, pids: 0b1}", "\"\\e\\n\": \"\\0\"", "env: {? }",
	} {
		f.Add("---\n" + front + "\n---\nbody")
	}
	f.Fuzz(func(t *testing.T, content string) {
		l := &loader{userHome: "/home/op", m: &Manifest{
			Agents: map[string]Agent{}, Bottles: map[string]Bottle{}, bad: map[string]Problems{}, seen: map[string]string{"bottle b": "b.md"},
		}}
		matter, _, err := split([]byte(content))
		if err != nil {
			return
		}
		child := "extends: b\nsecrets: {K: {env: X}}\nenv: {E: x}\negress: {routes: [{host: c.example, auth: {scheme: bearer, secret: K}}]}"
		l.bottles([]document{
			{name: "b", file: "b.md", root: parse("b.md", matter, &l.problems)},
			{name: "child", file: "child.md", root: parse("child.md", child, &l.problems)},
		})
		l.agents([]document{{name: "a", file: "a.md", root: parse("a.md", matter, &l.problems)}}, true)
		l.finish()
		for _, p := range l.m.Problems {
			if strings.ContainsAny(p.String(), "\n\r\x1b\x00") || p.Line < 0 || p.Line > strings.Count(matter, "\n")+strings.Count(matter, "\r")+3 {
				t.Errorf("got %q, line %d", p.String(), p.Line)
			}
		}
		if bad := l.m.bad["a.md"]; len(bad) > 0 {
			if a, err := l.m.Agent("a"); err == nil {
				t.Errorf("%v, and yet %+v", bad, a)
			}
		}
		if b, ok := l.m.Bottles["b"]; ok && slices.ContainsFunc(l.m.Problems, func(p Problem) bool { return p.File == "b.md" }) {
			t.Errorf("%v, and yet %+v", l.m.Problems, b)
		}
	})
}
