package dump

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"io"
	"strings"
)

// myValue is what a literal stands for.
type myValue struct {
	data   []byte
	binary bool // else in the character set of the client
}

// arg is the value as a parameter: a server may distinguish the two.
func (v myValue) arg() any {
	if v.binary {
		return v.data
	}
	return string(v.data)
}

func (v myValue) sum() string {
	sum := sha1.Sum(v.data)
	return hex.EncodeToString(sum[:])
}

// decodeMyValue reads those literals that can be large as the dump programs write them: 'text', _binary 'bytes', 0xAB, x'AB'.
func decodeMyValue(literal []byte, mode sqlMode) (v myValue, ok bool) {
	const introduced = "_binary "
	switch {
	case len(literal) < 2:
		return v, false
	case literal[0] == '\'':
		return myValue{data: unquoteMyString(literal, mode)}, true
	case bytes.HasPrefix(literal, []byte(introduced+"'")):
		return myValue{unquoteMyString(literal[len(introduced):], mode), true}, true
	case literal[0] == '0' && literal[1] == 'x':
		literal = literal[2:]
	case (literal[0] == 'x' || literal[0] == 'X') && literal[1] == '\'':
		literal = literal[2 : len(literal)-1]
	default:
		return v, false
	}
	if len(literal)%2 == 1 {
		literal = append([]byte{'0'}, literal...)
	}
	v = myValue{make([]byte, len(literal)/2), true}
	_, err := hex.Decode(v.data, literal)
	return v, err == nil
}

// myEscapes are the letters that mean something else behind a backslash. \% and \_ keep theirs.
var myEscapes = map[byte]byte{'0': 0, 'b': '\b', 'n': '\n', 'r': '\r', 't': '\t', 'Z': 26}

// unquoteMyString is what a string stands for.
func unquoteMyString(literal []byte, mode sqlMode) []byte {
	rest := literal[1 : len(literal)-1]
	stop := `'`
	if mode.escapes('\'') {
		stop += `\`
	}
	data := make([]byte, 0, len(rest))
	for {
		i := bytes.IndexAny(rest, stop)
		if i < 0 || i+1 >= len(rest) {
			return append(data, rest...)
		}
		data = append(data, rest[:i]...)
		c := rest[i+1]
		if meant, ok := myEscapes[c]; ok && rest[i] == '\\' {
			c = meant
		} else if rest[i] == '\\' && strings.IndexByte("%_", c) >= 0 {
			data = append(data, '\\')
		}
		data, rest = append(data, c), rest[i+2:]
	}
}

// loadReader writes a value as the only field of the only line of what LOAD DATA reads.
type loadReader struct {
	rest  []byte
	ended bool
}

// Read implements io.Reader.
func (r *loadReader) Read(p []byte) (n int, err error) {
	for len(r.rest) > 0 && n+2 <= len(p) {
		c := r.rest[0]
		if c == '\t' || c == '\n' || c == '\\' {
			p[n], n = '\\', n+1
		}
		p[n], n, r.rest = c, n+1, r.rest[1:]
	}
	switch {
	case n > 0 || len(p) == 0:
		return n, nil
	case r.ended:
		return 0, io.EOF
	case len(r.rest) > 0: // a buffer of one byte, which nobody has
		return 0, io.ErrShortBuffer
	}
	r.ended = true
	p[0] = '\n'
	return 1, nil
}

// literalSize is how many bytes a literal stands for, or a few more.
func literalSize(literal []byte) int {
	if len(literal) > 1 && literal[0] == '0' && literal[1] == 'x' {
		return (len(literal) - 1) / 2
	}
	return len(literal) - 2
}
