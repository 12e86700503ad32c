package dump

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/caddy-backup/caddy-backup/backup"
)

// restrictLines are the only commands of psql's that may stand in a script.
var restrictLines = regexp.MustCompile(`^\\(?:un)?restrict [A-Za-z0-9]+\r?(?:\n|$)`)

// splitStatements takes a script of SQL apart, at the semicolons that end statements. Comments are left out. Commands of
// psql's are refused: nobody reads them here.
func splitStatements(script string) (statements []string, err error) {
	var b strings.Builder
	for rest := script; rest != ""; {
		piece := sqlPiece(rest)
		switch {
		case piece == "":
			return nil, fmt.Errorf("%w: the script ends in the middle of a quotation or comment", backup.ErrInvalid)
		case strings.HasPrefix(piece, "--") || strings.HasPrefix(piece, "/*"):
			b.WriteByte(' ')
		case piece == `\`:
			line := restrictLines.FindString(rest)
			if line == "" || strings.TrimSpace(b.String()) != "" {
				return nil, fmt.Errorf("%w: the script has a command of psql's in it", backup.ErrInvalid)
			}
			piece = line
		case piece == ";":
			statements = append(statements, strings.TrimSpace(b.String()))
			b.Reset()
		default:
			b.WriteString(piece)
		}
		rest = rest[len(piece):]
	}
	if left := strings.TrimSpace(b.String()); left != "" {
		return nil, fmt.Errorf("%w: the script ends in the middle of a statement", backup.ErrInvalid)
	}
	return statements, nil
}

var dollarQuote = regexp.MustCompile(`^\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$`)

// sqlPiece is the first piece of a script: a quotation, a comment, a word, or a character; "" when it has no end. Strings
// are those of the standard, as every dump since 2010 begins with saying.
func sqlPiece(s string) string {
	until := func(skip int, end string) string {
		if i := strings.Index(s[skip:], end); i >= 0 {
			return s[:skip+i+len(end)]
		}
		return ""
	}
	switch {
	case strings.HasPrefix(s, "--"):
		if line := until(0, "\n"); line != "" {
			return line
		}
		return s
	case strings.HasPrefix(s, "/*"):
		return nestedComment(s)
	case s[0] == '\'' || s[0] == '"':
		return until(1, s[:1]) // a doubled quote begins the next piece
	case s[0] == '$':
		if mark := dollarQuote.FindString(s); mark != "" {
			return until(len(mark), mark)
		}
	case (s[0] == 'E' || s[0] == 'e') && strings.HasPrefix(s[1:], "'"):
		return escapeString(s)
	case wordByte(s[0]):
		n := 1
		for n < len(s) && (wordByte(s[n]) || s[n] == '$') {
			n++
		}
		return s[:n]
	}
	return s[:1]
}

func wordByte(c byte) bool {
	return c == '_' || c >= 0x80 || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func escapeString(s string) string {
	for i := 2; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '\'':
			return s[:i+1]
		}
	}
	return ""
}

func nestedComment(s string) string {
	depth := 0
	for i := 0; i+1 < len(s); i++ {
		switch s[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
			if depth == 0 {
				return s[:i+1]
			}
		}
	}
	return ""
}
