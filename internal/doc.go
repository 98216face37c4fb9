// Package internal holds nothing itself; its test keeps the packages below it in their
// layers.
package internal
