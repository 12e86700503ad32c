package dump

import (
	"bytes"
	"iter"
	"strings"
)

// sqlMode is how a server reads quotes and backslashes.
type sqlMode struct{ noBackslash, ansiQuotes bool }

// parseSQLMode reads the value of the variable sql_mode.
func parseSQLMode(text string) (m sqlMode) {
	for word := range strings.SplitSeq(strings.ToUpper(text), ",") {
		switch strings.TrimSpace(word) {
		case "NO_BACKSLASH_ESCAPES":
			m.noBackslash = true
		case "ANSI", "ANSI_QUOTES", "ORACLE", "MSSQL", "DB2", "POSTGRESQL", "MAXDB":
			m.ansiQuotes = true
		}
	}
	return m
}

// escapes reports whether a backslash escapes what follows it, between such quotes.
func (m sqlMode) escapes(quote byte) bool {
	return quote != '`' && !m.noBackslash && !(quote == '"' && m.ansiQuotes)
}

// myToken is a piece of a statement: a word or number ('w'), something in quotes (the quote), the beginning or the end of a
// comment whose text only some servers read ('!' and '*'), or another character, which stands for itself. Other comments and
// space are no tokens.
type myToken struct {
	kind byte
	text []byte // as it stands there
	at   int    // offset in the statement
}

// is reports whether the token is one of these words, which are in capitals.
func (t myToken) is(words ...string) bool {
	if t.kind != 'w' {
		return false
	}
	for _, w := range words {
		if len(w) == len(t.text) && strings.EqualFold(w, string(t.text)) {
			return true
		}
	}
	return false
}

// name reports whether the token can be a name.
func (t myToken) name(mode sqlMode) bool {
	return t.kind == 'w' || t.kind == '`' || t.kind == '"' && mode.ansiQuotes
}

// unquoted is the name that a token is.
func (t myToken) unquoted() string {
	if t.kind == 'w' {
		return string(t.text)
	}
	quote := string(t.kind)
	return strings.ReplaceAll(string(t.text[1:len(t.text)-1]), quote+quote, quote)
}

// myTokens are the tokens of a statement that sqlScript has split off, whose quotes are therefore closed.
func myTokens(stmt []byte, mode sqlMode) iter.Seq[myToken] {
	return func(yield func(myToken) bool) {
		for i := 0; i < len(stmt); {
			rest := stmt[i:]
			kind, n := myTokenAt(rest, mode)
			if kind != 0 && !yield(myToken{kind, rest[:n], i}) {
				return
			}
			i += n
		}
	}
}

// myTokenAt is the kind and the length of what a text begins with; 0 for space and comments.
func myTokenAt(rest []byte, mode sqlMode) (kind byte, n int) {
	starts := func(token string) bool { return bytes.HasPrefix(rest, []byte(token)) }
	switch c := rest[0]; {
	case c <= ' ':
		return 0, 1
	case c == '\'' || c == '"' || c == '`':
		return c, quotedLength(rest, mode.escapes(c))
	case c == '#' || starts("--") && (len(rest) == 2 || rest[2] <= ' ' || rest[2] == 0x7f):
		return 0, upTo(rest, "\n")
	case starts("/*!") || starts("/*M!"):
		n := bytes.IndexByte(rest, '!') + 1
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		return '!', n
	case starts("/*"):
		return 0, upTo(rest, "*/")
	case starts("*/"):
		return '*', 2
	case wordByte(c) || c == '$':
		n := 1
		for n < len(rest) && (wordByte(rest[n]) || rest[n] == '$' || rest[n] == '.' && c >= '0' && c <= '9') {
			n++
		}
		return 'w', n
	default:
		return c, 1
	}
}

// upTo is the length up to the end of something, that included.
func upTo(rest []byte, end string) int {
	if i := bytes.Index(rest, []byte(end)); i >= 0 {
		return i + len(end)
	}
	return len(rest)
}

// quotedLength is that of a string or a name with its quotes. A quote that is doubled stands for one.
func quotedLength(rest []byte, escapes bool) int {
	quote := rest[0]
	stop := string(quote)
	if escapes {
		stop += `\`
	}
	for i := 1; i < len(rest); {
		j := bytes.IndexAny(rest[i:], stop)
		if j < 0 {
			break
		}
		i += j + 1
		if rest[i-1] == '\\' && escapes {
			i++
		} else if i < len(rest) && rest[i] == quote {
			i++
		} else {
			return i
		}
	}
	return len(rest)
}
