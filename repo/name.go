package repo

import (
	"errors"
	"strconv"
	"strings"
)

// checkName refuses names that no folder can hold, and that would lead a restore out of its folder.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case name == "." || name == "..":
		return errors.New("the name means a folder itself or the one above")
	case strings.ContainsAny(name, "/\x00"):
		return errors.New("the name has a slash or a NUL in it")
	}
	return nil
}

// quoteName escapes a raw name as the format wants it: as the inside of a Go string literal, so that names that are
// not UTF-8 survive JSON.
func quoteName(name string) string {
	if plainName(name) {
		return name
	}
	q := strconv.Quote(name)
	return q[1 : len(q)-1]
}

// unquoteName undoes quoteName, and takes every other escape of a Go string literal.
func unquoteName(s string) (string, error) {
	if plainName(s) {
		return s, nil
	}
	return strconv.Unquote(`"` + s + `"`)
}

// plainName reports whether quoting changes nothing, which is so for nearly all names.
func plainName(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
