package dump

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"github.com/caddy-backup/caddy-backup/backup"
)

// myInsert is a statement that brings rows, taken apart.
type myInsert struct {
	head  []byte // up to VALUES
	table string
	rest  []byte // rows that were not read yet
	begun bool
	mode  sqlMode
}

// insert is the beginning of a statement that brings rows.
var insert = regexp.MustCompile("^(?:INSERT|REPLACE)(?: IGNORE| DELAYED)* INTO `((?:[^`]|``)+)` (?:\\((?:`(?:[^`]|``)+`|[a-z_, ])*\\) )?VALUES")

// openInsert takes a statement apart; ok tells whether it is one that the dump programs write.
func openInsert(stmt []byte, mode sqlMode) (x *myInsert, ok bool) {
	m := insert.FindSubmatchIndex(stmt[:min(len(stmt), insertHead)])
	if m == nil {
		return nil, false
	}
	table := strings.ReplaceAll(string(stmt[m[2]:m[3]]), "``", "`")
	return &myInsert{head: stmt[:m[1]], table: table, rest: stmt[m[1]:], mode: mode}, true
}

// next reads a row into values, which it returns: literals only, as they stand there. Anything that is no literal is refused,
// for it could call a function. No values: there is no row any more.
func (x *myInsert) next(values [][]byte) ([][]byte, error) {
	values = values[:0]
	rest := trimSpace(x.rest)
	if len(rest) == 0 && x.begun {
		return nil, nil
	}
	if x.begun {
		if rest[0] != ',' {
			return nil, x.fault(rest)
		}
		rest = trimSpace(rest[1:])
	}
	if len(rest) == 0 || rest[0] != '(' {
		return nil, x.fault(rest)
	}
	x.begun = true
	for sep := byte('('); sep != ')'; {
		rest = trimSpace(rest[1:])
		n := x.literal(rest)
		if n == 0 {
			return nil, x.fault(rest)
		}
		values = append(values, rest[:n])
		if rest = trimSpace(rest[n:]); len(rest) == 0 || rest[0] != ',' && rest[0] != ')' {
			return nil, x.fault(rest)
		}
		sep = rest[0]
	}
	x.rest = rest[1:]
	return values, nil
}

func (x *myInsert) fault(rest []byte) error {
	return fmt.Errorf("%w: the rows of table %s hold what is no plain value: no dump program writes that: %.40q", backup.ErrInvalid, x.table, rest)
}

func trimSpace(p []byte) []byte {
	for len(p) > 0 && (p[0] == ' ' || p[0] == '\n' || p[0] == '\r' || p[0] == '\t') {
		p = p[1:]
	}
	return p
}

// literalWord is what may stand there beside strings: numbers, hexadecimal ones, and NULL.
var literalWord = regexp.MustCompile(`^(?i:NULL|0x[0-9a-f]*|-?[0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)$`)

// introducer says what a string is that follows it: its character set, or bits.
var introducer = regexp.MustCompile(`^(?:_[a-z0-9_]+ ?|[bBxX])['0]`)

// literal is the length of the literal that a text begins with; 0: there is none.
func (x *myInsert) literal(rest []byte) int {
	if len(rest) == 0 {
		return 0
	}
	if rest[0] == '\'' {
		return quotedLength(rest, x.mode.escapes('\''))
	}
	if m := introducer.Find(rest[:min(len(rest), longestToken)]); m != nil {
		before := len(m) - 1
		if n := x.literal(rest[before:]); n > 0 && (m[before] == '\'' || m[0] == '_') {
			return before + n
		}
		return 0
	}
	n := bytes.IndexAny(rest, ",)\n ")
	if n <= 0 || len(rest) > 2 && rest[0] == '0' && rest[1] == 'x' && !isHex(rest[2:n]) {
		return 0
	}
	if rest[0] == '0' && n > 1 && rest[1] == 'x' || literalWord.Match(rest[:n]) {
		return n
	}
	return 0
}

func isHex(p []byte) bool {
	for _, c := range p {
		if !(c >= '0' && c <= '9' || c >= 'A' && c <= 'F' || c >= 'a' && c <= 'f') {
			return false
		}
	}
	return true
}
