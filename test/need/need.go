// Package need says what a test does on a machine that lacks what it needs: it is skipped, and
// fails where BOT_BOTTLE_REQUIRE names that. Nothing else skips a test, so that none that is
// required can pass by not running.
package need

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// What a test needs of its machine.
type What string

// All of them, as BOT_BOTTLE_REQUIRE names them, separated by commas.
const (
	Docker  What = "docker"  // an engine
	Dockerd What = "dockerd" // the engine on this machine, its program, and root
	Browser What = "browser" // one that can be driven
	MCP     What = "mcp"     // MCP's clients from npm
	Runsc   What = "runsc"   // gVisor's runtime, and Dockerd
	Smolvm  What = "smolvm"  // root, for the stand-in's namespaces

	Namespaces What = "namespaces" // a kernel that lets us make them, and users to have in them: root, or newuidmap(1)
)

// Tools is what scripts/setup --test installs, and what any Linux brings: it is required as soon
// as anything is.
const Tools What = "tools"

const variable = "BOT_BOTTLE_REQUIRE"

// required reports whether a list of what must be here holds one. A word that is none of ours
// would require nothing, and is an error.
func required(list string, what What) (bool, error) {
	all := strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
	for _, one := range all {
		if !slices.Contains([]What{Docker, Dockerd, Browser, MCP, Runsc, Smolvm, Namespaces, Tools}, What(one)) {
			return true, fmt.Errorf("%s: there is no %q", variable, one)
		}
	}
	return slices.Contains(all, string(what)) || what == Tools && len(all) > 0, nil
}

// Lacking ends a test for which something is not here.
func Lacking(t testing.TB, what What, why any) {
	t.Helper()
	must, err := required(os.Getenv(variable), what)
	switch {
	case err != nil:
		t.Fatal(err)
	case must:
		t.Fatalf("this test needs %s: %v", what, why)
	}
	t.Skipf("this test needs %s: %v", what, why)
}

// Status ends all tests of a package for which something is not here: TestMain exits with it.
func Status(what What, why any) int {
	must, err := required(os.Getenv(variable), what)
	switch {
	case err != nil:
		fmt.Println("FAIL:", err)
	case must:
		fmt.Printf("FAIL: these tests need %s: %v\n", what, why)
	default:
		fmt.Printf("skipped: these tests need %s: %v\n", what, why)
		return 0
	}
	return 1
}

// Elsewhere ends a test that is of something else than what is tested now: another system,
// backend or runtime.
func Elsewhere(t testing.TB, why string) {
	t.Helper()
	t.Skip(why)
}
