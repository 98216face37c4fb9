//go:build !linux

package inside

// walls are Linux's: a bottle is.
func walls() []Attack { return nil }
