package guest

import (
	"net/netip"
	"sync"
)

// names gives each name an address of its own in 127.64.0.0/10, for the bottle's life:
// a program may keep an address for as long as it likes. It may be used concurrently.
type names struct {
	mu    sync.Mutex
	byIP  map[netip.Addr]string
	byStr map[string]netip.Addr
	next  netip.Addr
}

// maxNames bounds the table: a wildcard route lets the agent invent names.
const maxNames = 1 << 16

func newNames() *names {
	return &names{byIP: map[netip.Addr]string{}, byStr: map[string]netip.Addr{}, next: netip.AddrFrom4([4]byte{127, 64, 0, 1})}
}

// address returns the name's address; false when the table is full.
func (n *names) address(name string) (netip.Addr, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if a, ok := n.byStr[name]; ok {
		return a, true
	}
	if len(n.byStr) >= maxNames {
		return netip.Addr{}, false
	}
	a := n.next
	n.next = a.Next()
	n.byIP[a], n.byStr[name] = name, a
	return a, true
}

// name returns what an address stands for.
func (n *names) name(a netip.Addr) (string, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	name, ok := n.byIP[a.Unmap()]
	return name, ok
}
