package dump

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/caddy-backup/caddy-backup/backup"
)

// sqlScript splits a script of mysqldump or mariadb-dump into its statements, as the mysql client does, but knows none of the
// client's own commands save DELIMITER: what would run a program, read another script or turn to another database is refused.
// Rules of quoting: https://mariadb.com/kb/en/mariadb-command-line-client/ and the lexical structure in its manual.
type sqlScript struct {
	in        *bufio.Reader
	delimiter string
	line      int    // that is being read, from 1
	stmt      []byte // the statement so far
	complete  bool   // the line was there that is written last
	mode      sqlMode
}

const (
	scriptWindow = 256 << 10 // bytes
	longestToken = 64        // bytes, that is looked for
	maxStatement = 1 << 30   // bytes; a server takes no larger ones
	insertHead   = 4 << 10   // bytes, in which the table and the columns of an INSERT stand

	// What a dump of MariaDB begins with, for its own client: https://mariadb.org/mariadb-dump-file-compatibility-change/
	sandboxLine    = `/*M!999999\- enable the sandbox mode */`
	oldSandboxLine = `/*!999999\- enable the sandbox mode */`
	// What both programs write last, a date behind it or not.
	lastComment = "-- Dump completed"
)

var errCutOff = errors.New("the script is cut off")

func newSQLScript(r io.Reader) *sqlScript {
	return &sqlScript{in: bufio.NewReaderSize(r, scriptWindow), delimiter: ";", line: 1}
}

// next returns a statement without its delimiter and without the comments before it, which is valid until the next call; io.EOF
// behind the last one.
func (s *sqlScript) next() ([]byte, error) {
	s.stmt = s.stmt[:0]
	for {
		window, err := s.window()
		switch {
		case err == io.EOF && len(s.stmt) == 0:
			return nil, io.EOF
		case err == io.EOF:
			return nil, s.errorf("%w: it ends in mid-statement", errCutOff)
		case err != nil:
			return nil, err
		case len(s.stmt) > maxStatement:
			return nil, s.errorf("%w: a statement of more than %d bytes", backup.ErrInvalid, maxStatement)
		}
		if len(s.stmt) == 0 {
			begun, err := s.begin(window)
			if err != nil {
				return nil, err
			}
			if !begun {
				continue
			}
		}
		if end, err := s.step(window); err != nil || end {
			s.follow()
			return s.stmt, err
		}
	}
}

// modeSet sets how quotes are read from there on: in the routines of a dump, for each as it was made.
var modeSet = regexp.MustCompile(`(?i)(?:^|[^@\w])sql_mode *= *(?:'([^']*)'|@)`)

// follow notes what the statement sets. Variables in which dumps keep a mode hold the one that dumps begin with.
func (s *sqlScript) follow() {
	if len(s.stmt) > insertHead || !setsMode(s.stmt) {
		return
	}
	for _, m := range modeSet.FindAllSubmatch(s.stmt, -1) {
		s.mode = parseSQLMode(string(m[1]))
	}
}

// setsMode reports whether a statement may change sql_mode.
func setsMode(stmt []byte) bool {
	m := firstWord.FindSubmatch(stmt[:min(len(stmt), longestToken)])
	return m != nil && bytes.EqualFold(m[1], []byte("set")) && modeSet.Match(stmt)
}

// begin reads what is before a statement: space, and commands of the client. begun: the window begins with something else.
func (s *sqlScript) begin(window []byte) (begun bool, err error) {
	if rest := bytes.TrimLeft(window, " \t\r\n"); len(rest) < len(window) {
		s.drop(window[:len(window)-len(rest)])
		return false, nil
	}
	done, err := s.clientLine(window)
	return !done, err
}

// window is what can be looked at without reading: as much as the longest token that is looked for, but at the end.
func (s *sqlScript) window() ([]byte, error) {
	if window, err := s.in.Peek(longestToken); err != nil && (err != io.EOF || len(window) == 0) {
		return nil, err
	}
	return s.in.Peek(s.in.Buffered())
}

// take moves bytes from the window to the statement.
func (s *sqlScript) take(p []byte) {
	s.stmt = append(s.stmt, p...)
	s.drop(p)
}

func (s *sqlScript) drop(p []byte) {
	s.line += bytes.Count(p, []byte("\n"))
	s.in.Discard(len(p))
}

// special are the bytes at which something may begin that is not plain text of a statement.
func (s *sqlScript) special(window []byte) int {
	i := bytes.IndexAny(window, "'\"`-#/\\\n"+s.delimiter[:1])
	if i < 0 {
		return len(window)
	}
	return i
}

// step reads plain text up to the next token, or that token. end: it was the delimiter.
func (s *sqlScript) step(window []byte) (end bool, err error) {
	i := s.special(window)
	if i > 0 {
		s.take(window[:i])
		return false, nil
	}
	starts := func(token string) bool { return bytes.HasPrefix(window, []byte(token)) }
	switch c := window[0]; {
	case starts(s.delimiter):
		s.drop(window[:len(s.delimiter)])
		return true, nil
	case starts(sandboxLine):
		s.drop(window[:len(sandboxLine)])
	case starts(oldSandboxLine):
		s.drop(window[:len(oldSandboxLine)])
	case c == '\'' || c == '"' || c == '`':
		return false, s.quoted(c)
	case c == '#' || starts("--") && (len(window) == 2 || window[2] <= ' '):
		return false, s.comment("\n")
	case starts("/*") && !starts("/*!") && !starts("/*M!"):
		return false, s.comment("*/")
	case c == '\\':
		return false, s.errorf("%w: a command for the mysql client, which is not SQL", backup.ErrInvalid)
	default:
		s.take(window[:1])
	}
	return false, nil
}

// quoted takes a string or a name. Two quotes stand for one, which is the same as two strings behind each other.
func (s *sqlScript) quoted(quote byte) error {
	stop := string(quote)
	if s.mode.escapes(quote) {
		stop += "\\"
	}
	first, _ := s.in.Peek(1)
	for s.take(first); ; {
		window, err := s.window()
		if err == io.EOF {
			return s.errorf("%w: in the middle of a value", errCutOff)
		}
		if err != nil {
			return err
		}
		i := bytes.IndexAny(window, stop)
		switch {
		case i < 0:
			s.take(window)
		case window[i] == quote:
			s.take(window[:i+1])
			return nil
		case i+1 < len(window):
			s.take(window[:i+2])
		default:
			s.take(window[:i])
			if _, err := s.in.Peek(2); err != nil {
				return s.errorf("%w: in the middle of a value", errCutOff)
			}
		}
		if len(s.stmt) > maxStatement {
			return s.errorf("%w: a value of more than %d bytes", backup.ErrInvalid, maxStatement)
		}
	}
}

// comment reads a comment. Inside of a statement, such as the body of a routine, it belongs to it.
func (s *sqlScript) comment(end string) error {
	inside, ended := len(s.stmt) > 0, false
	var text []byte
	for {
		window, err := s.window()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		i := bytes.Index(window, []byte(end))
		if i >= 0 {
			window = window[:i+len(end)]
		} else if len(window) > len(end) {
			window = window[:len(window)-len(end)+1]
		}
		if len(text) < len(lastComment) {
			text = append(text, window...)
		}
		if inside {
			s.take(window)
		} else {
			s.drop(window)
		}
		if ended = i >= 0; ended {
			break
		}
	}
	if ended && !inside && bytes.HasPrefix(text, []byte(lastComment)) {
		s.complete = true
	}
	return nil
}

var (
	// firstWord of a statement, also of one that only newer servers look at.
	firstWord = regexp.MustCompile(`^(?:/\*M?!\d*\s*)*([A-Za-z_]+)`)
	// clientWords are the commands of the mysql client that stand at the beginning of a line.
	clientWords = strings.Fields("ansi charset clear connect costs edit ego exit go help nopager notee nowarning pager print " +
		"prompt query_attributes quit rehash resetconnection sandbox source ssl_session_data_print status system tee warnings")
)

// clientLine looks for a command of the client. done: it was one that counts, and was read.
func (s *sqlScript) clientLine(window []byte) (done bool, err error) {
	word := ""
	if m := firstWord.FindSubmatch(window[:min(len(window), longestToken)]); m != nil {
		word = strings.ToLower(string(m[1]))
	}
	switch {
	case word == "delimiter" && window[0] != '/':
		line, err := s.in.ReadString('\n')
		if err != nil && err != io.EOF {
			return false, err
		}
		s.line++
		fields := strings.Fields(line)
		if len(fields) != 2 || strings.ContainsAny(fields[1], "'\"`\\-#/\n") || len(fields[1]) > 16 {
			return false, s.errorf("%w: not a delimiter: %.40q", backup.ErrInvalid, line)
		}
		s.delimiter = fields[1]
		return true, nil
	case word == "use":
		return false, s.errorf("%w: it turns to a database by name (USE): this is a dump of several databases", backup.ErrInvalid)
	}
	for _, w := range clientWords {
		if w == word {
			return false, s.errorf("%w: a command for the mysql client, '%s', which is not SQL", backup.ErrInvalid, word)
		}
	}
	return false, nil
}

func (s *sqlScript) errorf(format string, args ...any) error {
	return fmt.Errorf("line %d: "+format, append([]any{s.line}, args...)...)
}
