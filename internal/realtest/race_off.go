//go:build !race

package realtest

// Race says that the race detector watches this run. It multiplies memory, so that a test must not judge that.
const Race = false
