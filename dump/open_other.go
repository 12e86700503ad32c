//go:build unix && !linux

package dump

// openBy cannot tell here who has a file open.
func openBy([]string) []string { return nil }
