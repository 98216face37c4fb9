package egress

import (
	"runtime/debug"
	"sync"
)

// crowd counts open tunnels. What making one takes is ten times what an idle one holds, and
// the collector, which lets as much garbage pile up as there is memory in use, would hold on
// to it while nothing else goes on. So each time there are some more than ever since, it is
// asked to collect.
type crowd struct {
	mu         sync.Mutex
	open, mark int
}

// growth is how many tunnels more are reason to collect.
const growth = 128

func (c *crowd) enter() {
	c.mu.Lock()
	c.open++
	grown := c.open >= c.mark+growth
	if grown {
		c.mark = c.open
	}
	c.mu.Unlock()
	if grown {
		debug.FreeOSMemory()
	}
}

func (c *crowd) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open--; c.open < c.mark/2 {
		c.mark = c.open
	}
}
