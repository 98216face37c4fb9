//go:build race

package dlp

// slower is by how much tests do less under the race detector, with which they would
// take minutes. Without it every file is searched for false positives.
const slower = 30
