package need

import "testing"

// What is required is what the list names, word by word; of its words none may be lost by a
// mistake in writing.
func TestRequired(t *testing.T) {
	for _, c := range []struct {
		list string
		what What
		must bool
		bad  bool
	}{
		{"", Docker, false, false},
		{"", Tools, false, false},
		{"docker,browser", Docker, true, false},
		{"docker,browser", Browser, true, false},
		{"docker,browser", Dockerd, false, false},
		{"dockerd", Docker, false, false},
		{"docker", Tools, true, false},
		{"docker,,mcp", MCP, true, false},
		{"dokcer", Docker, true, true},
		{"docker browser", MCP, true, true},
	} {
		must, err := required(c.list, c.what)
		if must != c.must || (err != nil) != c.bad {
			t.Errorf("%q, %s: got %t, %v", c.list, c.what, must, err)
		}
	}
}
