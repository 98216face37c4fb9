package docker

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
)

// engineProfile is the engine's default seccomp profile, as data, so that the
// profile is the same whichever engine and host it runs on. A test compares it with
// the pinned github.com/moby/profiles.
//
//go:embed seccomp-default.json
var engineProfile []byte

// Address families and the one netlink protocol that a bottle may open sockets of
// (linux/socket.h). AF_VSOCK is the reason: it is not bound to a network namespace,
// so in a container inside a VM it would reach the hypervisor. AF_ALG, AF_PACKET,
// AF_BLUETOOTH, AF_TIPC and the rest go with it.
const (
	afUnix, afInet, afInet6, afNetlink = 1, 2, 10, 16
	netlinkRoute                       = 0
)

// refused are calls that no coding agent needs and kernel exploits do. socket goes
// because it comes back by family; socketcall because its arguments cannot be
// filtered (it is how 32-bit programs open sockets).
var refused = map[string]bool{
	"socket": true, "socketcall": true,
	"io_uring_setup": true, "io_uring_enter": true, "io_uring_register": true,
	"keyctl": true, "add_key": true, "request_key": true,
	"bpf": true, "userfaultfd": true,
	"perf_event_open": true, "fanotify_init": true, "open_by_handle_at": true,
	"kexec_load": true, "kexec_file_load": true,
}

type rule struct {
	Names    []string        `json:"names"`
	Action   string          `json:"action"`
	ErrnoRet *uint           `json:"errnoRet,omitempty"`
	Args     []arg           `json:"args,omitempty"`
	Comment  string          `json:"comment,omitempty"`
	Includes json.RawMessage `json:"includes,omitempty"`
	Excludes json.RawMessage `json:"excludes,omitempty"`
}

type arg struct {
	Index    uint   `json:"index"`
	Value    uint64 `json:"value"`
	ValueTwo uint64 `json:"valueTwo,omitempty"`
	Op       string `json:"op"`
}

// seccompProfile is the bottle's profile: the engine's default less what is in
// refused and less every socket family but four (DESIGN §3). New user namespaces
// are refused by the default already, since the bottle has no CAP_SYS_ADMIN.
func seccompProfile() (string, error) {
	var profile map[string]json.RawMessage
	if err := json.Unmarshal(engineProfile, &profile); err != nil {
		return "", fmt.Errorf("cannot read the embedded seccomp profile: %w", err)
	}
	var rules []rule
	if err := json.Unmarshal(profile["syscalls"], &rules); err != nil {
		return "", fmt.Errorf("cannot read the embedded seccomp profile: %w", err)
	}
	narrowed, err := json.Marshal(append(without(rules), sockets()...))
	if err != nil {
		return "", err
	}
	profile["syscalls"] = narrowed
	data, err := json.Marshal(profile)
	return string(data), err
}

// without drops the refused names from every rule that allows them.
func without(rules []rule) []rule {
	var kept []rule
	for _, r := range rules {
		r.Names = slices.DeleteFunc(slices.Clone(r.Names), func(n string) bool { return refused[n] })
		if len(r.Names) > 0 {
			kept = append(kept, r)
		}
	}
	return kept
}

// sockets allows socket(2) for each family by itself.
func sockets() []rule {
	family := func(f uint64) arg { return arg{Index: 0, Value: f, Op: "SCMP_CMP_EQ"} }
	allow := func(args ...arg) rule {
		return rule{Names: []string{"socket"}, Action: "SCMP_ACT_ALLOW", Args: args}
	}
	return []rule{
		allow(family(afUnix)), allow(family(afInet)), allow(family(afInet6)),
		allow(family(afNetlink), arg{Index: 2, Value: netlinkRoute, Op: "SCMP_CMP_EQ"}),
	}
}
