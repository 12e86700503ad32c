package fsnode

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// Match reports whether an exclude pattern fits name, a slash-separated path relative to the folder that is saved. What
// is below an excluded folder is excluded with it by Save, which does not enter it; Match looks at name alone.
//
//	*.tmp        no slash: the base name, at any depth
//	cache/*      a slash inside: the whole path, from the saved folder on
//	/build       a leading slash: only directly in the saved folder
//	**/log/*.1   ** stands for any number of folders, also none
//	node_modules/  a trailing slash: only folders
//
// *, ?, [a-z], [!a-z] and {a,b} never match a slash; a backslash takes the next character as it is.
func Match(pattern, name string, folder bool) bool {
	glob, onlyFolders := strings.CutSuffix(pattern, "/")
	if onlyFolders && !folder {
		return false
	}
	if !strings.Contains(glob, "/") {
		name = path.Base(name)
	}
	ok, err := doublestar.Match(strings.TrimPrefix(glob, "/"), name)
	return ok && err == nil
}

// CheckPattern says what is wrong with an exclude pattern, or nil. A pattern that could never match is an error,
// because what somebody wanted left out would be saved.
func CheckPattern(pattern string) error {
	switch {
	case strings.Trim(pattern, "/") == "":
		return errors.New("exclude pattern is empty; write what to leave out, as *.tmp or cache/*")
	case strings.HasPrefix(pattern, "!"):
		return fmt.Errorf("exclude pattern %q: exceptions with ! are not supported; a name that begins with it is written \\!x", pattern)
	case !doublestar.ValidatePattern(strings.Trim(pattern, "/")):
		return fmt.Errorf("exclude pattern %q is malformed: a bracket, brace or backslash is not closed", pattern)
	}
	for part := range strings.SplitSeq(strings.Trim(pattern, "/"), "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("exclude pattern %q can never match: leave out %q", pattern, part+"/")
		}
	}
	return nil
}

// excluded reports whether any of the patterns fits.
func excluded(patterns []string, name string, folder bool) bool {
	for _, p := range patterns {
		if Match(p, name, folder) {
			return true
		}
	}
	return false
}
