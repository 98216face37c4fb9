//go:build !race

package dlp

const slower = 1
