// Package dashboard is the operator's screen: what all running bottles do, what their agents
// ask for, and the keys to decide it.
//
// It keeps nothing: what it shows is what the bottles say now, so that it may be closed and
// opened at will, several times at once. It decides only what is on the screen: each decision
// carries the digest of what was shown.
//
// All text from a bottle is hostile. It is made plain (package plain) where it is drawn, it
// stands behind a gutter or in a column of its own, and never in the lines in which the
// dashboard asks its operator something.
package dashboard
