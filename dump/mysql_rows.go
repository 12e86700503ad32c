package dump

import (
	"bytes"
	"regexp"
	"strings"
)

// created is the beginning of a statement that makes a table.
var created = regexp.MustCompile("^CREATE TABLE `((?:[^`]|``)+)` \\(")

// countRows adds the rows that a statement brings to those of its table.
func countRows(stmt []byte, rows map[string]int64) {
	head := stmt[:min(len(stmt), insertHead)]
	if m := created.FindSubmatch(head); m != nil {
		rows[strings.ReplaceAll(string(m[1]), "``", "`")] = 0
		return
	}
	m := insert.FindSubmatchIndex(head)
	if m == nil {
		return
	}
	table := strings.ReplaceAll(string(stmt[m[2]:m[3]]), "``", "`")
	depth, n := 0, int64(0)
	for rest := stmt[m[1]:]; ; {
		i := bytes.IndexAny(rest, "'()")
		if i < 0 {
			break
		}
		c := rest[i]
		rest = rest[i+1:]
		switch c {
		case '(':
			if depth++; depth == 1 {
				n++
			}
		case ')':
			depth--
		default:
			rest = behindString(rest)
		}
	}
	rows[table] += n
}

// behindString is what follows a string that has begun.
func behindString(rest []byte) []byte {
	for {
		i := bytes.IndexAny(rest, `'\`)
		switch {
		case i < 0 || i+1 == len(rest):
			return nil
		case rest[i] == '\'':
			return rest[i+1:]
		}
		rest = rest[i+2:]
	}
}
