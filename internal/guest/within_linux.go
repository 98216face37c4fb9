package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/bot-bottle/bot-bottle/internal/confine"
	"github.com/bot-bottle/bot-bottle/internal/provider"
)

// maxFiles is how many files a process in a bottle may have open: what engines allow.
const maxFiles = 1 << 20

// environment is what every process in a machine's bottle sees, and its bounds.
type environment struct {
	Env   []string `json:"env"`
	NProc uint64   `json:"nproc"`
}

// Within becomes a command in a machine, as the agent's user or as root without a capability.
// It returns only when that cannot be: 127 when there is no such command, 126 when it cannot be run.
func Within(user string, argv []string) (int, error) {
	said, err := readEnvironment()
	if err != nil {
		return 126, err
	}
	as := confine.Become{Filter: confine.Agent(), NoFile: fileLimit()}
	home := "/root"
	switch user {
	case provider.User:
		as.UID, as.NProc, home = provider.UID, said.NProc, provider.Home
	case "root":
	default:
		return 126, fmt.Errorf("%q is nobody here", user)
	}
	env := merge(os.Environ(), said.Env, []string{"HOME=" + home})
	for _, v := range env {
		if path, ok := strings.CutPrefix(v, "PATH="); ok {
			if err := os.Setenv("PATH", path); err != nil { // where the command is looked for
				return 126, err
			}
		}
	}
	path, err := exec.LookPath(argv[0])
	if err == nil {
		err = as.Exec(path, argv, env)
	}
	return unrunnable(err), fmt.Errorf("cannot run %s: %w", argv[0], err)
}

// fileLimit is maxFiles, or the most that this machine's kernel lets root have.
func fileLimit() uint64 {
	data, err := os.ReadFile("/proc/sys/fs/nr_open")
	most := uint64(0)
	if _, scanErr := fmt.Sscan(string(data), &most); err != nil || scanErr != nil {
		return 0
	}
	return min(maxFiles, most)
}

func readEnvironment() (said environment, err error) {
	data, err := os.ReadFile(environmentFile)
	if errors.Is(err, fs.ErrNotExist) {
		return said, nil // nothing was brought in yet
	}
	if err == nil {
		err = json.Unmarshal(data, &said)
	}
	return said, err
}

// merge puts environments over one another. The terminal that a command was given stays.
func merge(lists ...[]string) []string {
	all := map[string]string{}
	var order []string
	for i, list := range lists {
		for _, v := range list {
			name, value, ok := strings.Cut(v, "=")
			if !ok || name == "TERM" && i > 0 && all["TERM"] != "" {
				continue
			}
			if _, known := all[name]; !known {
				order = append(order, name)
			}
			all[name] = value
		}
	}
	slices.Sort(order)
	env := make([]string, 0, len(order))
	for _, name := range order {
		env = append(env, name+"="+all[name])
	}
	return env
}
