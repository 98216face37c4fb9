// Package terminal reads what a program in a bottle prints to its terminal: a parser of
// control sequences, a screen that they draw on, and a filter for what may reach the
// operator's own terminal.
//
// Every byte of it is hostile. Nothing here may panic, grow without bound, work longer than
// its input is worth, or depend on where its input was cut.
package terminal
