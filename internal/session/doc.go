// Package session is what goes between an agent's terminal in a bottle and the operators who
// look at it: the guest's side, which keeps the screen and serves viewers (Hub), and the
// host's, which shows it on a terminal (View), reads it for a dashboard (Watcher) and keeps
// a transcript of it (Keep, Play).
//
// Both speak in frames over a stream, and each takes the other for hostile. What the host's
// side gets from a bottle reaches a terminal only through a terminal.Filter.
package session
