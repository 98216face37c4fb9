package docker

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// mcsLevel is an SELinux MCS level for one bottle: two of the 1024 categories, so
// that no two bottles are likely to share it.
func mcsLevel(identity string) string {
	sum := sha256.Sum256([]byte(identity))
	a := binary.BigEndian.Uint16(sum[:]) % 1024
	b := binary.BigEndian.Uint16(sum[2:]) % 1023
	if b >= a {
		b++
	}
	return fmt.Sprintf("s0:c%d,c%d", min(a, b), max(a, b))
}
