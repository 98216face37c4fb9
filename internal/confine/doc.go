// Package confine takes away from a process what it does not need: capabilities, system calls,
// socket families, and files. Nothing that is taken away comes back, also not by execve(2).
//
// What cannot be taken away is an error, never a warning: the caller must not go on.
package confine
