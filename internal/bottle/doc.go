// Package bottle is the centre: what a backend must do (Driver), what the
// operator wants (Spec), what was resolved (Plan), what runs (Bottle), and the one
// straight line from one to the next (Start).
//
// Data flows one way: spec → plan → bottle → exec → close. Nothing here knows a
// container or a virtual machine, prints, reads the environment or exits.
package bottle
