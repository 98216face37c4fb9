// Package memory runs bottles without an engine and without a hypervisor, for tests of everything
// that uses a backend: a bottle is namespaces of this machine's kernel with a guest of ours as
// process 1 and the host's own programs to run, its sidecar bundle is processes beside it, and which
// bottles there are is in the memory of the process that made them. All of them end with that.
//
// It keeps the whole contract of bottle.Driver, and is no product: there is no image, no limit but
// that of processes, and no wall beyond the namespaces. It must never be offered to users, nor be
// known to any package but tests.
package memory

// Name of the backend.
const Name = "memory"
