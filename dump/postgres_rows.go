package dump

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

const checkedScript = "script of pg_dump with its last line"

// scriptWatch is written a script of pg_dump, and finds out how many rows it has of each table, and whether it has its
// end. It never fails.
//
// The rows of a table stand between a COPY command and a line with \. alone, one on a line; pg_dump writes a comment
// before the command, by which it can be told from the text of a function.
type scriptWatch struct {
	rows map[string]int64 // by tableKey

	end  string // the last line, with its line break
	tail tailWriter

	line    []byte // the beginning of a line whose end has not come
	near    bool   // behind the comment, before the command
	command []byte // lines of a COPY command, since a name may have a line break in it
	copying string // the table whose rows are coming; "" outside
	n       int64  // of these
}

const (
	rowsComment = "-- Data for Name: "
	rowsEnd     = `\.`
	maxCommand  = 256 << 10 // bytes: 1600 columns with the longest names
)

func newScriptWatch(end string) *scriptWatch {
	return &scriptWatch{rows: map[string]int64{}, end: end, tail: tailWriter{keep: scriptTail}}
}

func (s *scriptWatch) Write(p []byte) (int, error) {
	s.tail.Write(p)
	for rest := p; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			s.keep(rest)
			break
		}
		line := rest[:i]
		if len(s.line) > 0 {
			s.keep(line)
			line = s.line
		}
		s.take(line)
		s.line = s.line[:0]
		rest = rest[i+1:]
	}
	return len(p), nil
}

// keep adds to the line that is not complete; of a row no more is needed than to tell it from the end of all rows.
func (s *scriptWatch) keep(piece []byte) {
	limit := maxCommand
	if s.copying != "" {
		limit = len(rowsEnd) + 2
	}
	s.line = append(s.line, piece[:min(len(piece), max(0, limit-len(s.line)))]...)
}

// take is told of each line, without its line break.
func (s *scriptWatch) take(line []byte) {
	line = bytes.TrimSuffix(line, []byte("\r"))
	switch {
	case s.copying != "" && string(line) == rowsEnd:
		s.rows[s.copying] += s.n
		s.copying = ""
	case s.copying != "":
		s.n++
	case bytes.HasPrefix(line, []byte(rowsComment)):
		s.near = true
	case s.near && len(line) > 0 && !bytes.HasPrefix(line, []byte("--")):
		s.begin(line)
	}
}

// begin is told of what stands where a COPY command should.
func (s *scriptWatch) begin(line []byte) {
	if len(s.command) == 0 && !bytes.HasPrefix(line, []byte("COPY ")) || len(s.command) > maxCommand {
		s.near, s.command = false, nil // no rows here: those of a table from elsewhere, INSERTs of other programs
		return
	}
	s.command = append(append(s.command, line...), '\n')
	if bytes.HasSuffix(line, []byte(" FROM stdin;")) {
		s.copying, s.n = copiedTable(string(s.command)), 0
		s.near, s.command = false, nil
	}
}

// whole is nil when the script has its end.
func (s *scriptWatch) whole() error {
	if s.copying != "" || !bytes.Contains(append(unixLines(s.tail.last), '\n'), []byte("\n"+s.end)) {
		return cutOff(s.end)
	}
	return nil
}

var copyCommand = regexp.MustCompile(`^COPY (?:ONLY )?((?s:"(?:[^"]|"")*"|[^". (]+))(?:\.((?s:"(?:[^"]|"")*"|[^". (]+)))? `)

// copiedTable is the key of the table in a COPY command, "?" when it has no name that we could read.
func copiedTable(command string) string {
	m := copyCommand.FindStringSubmatch(command)
	switch {
	case m == nil:
		return "?"
	case m[2] == "":
		return tableKey("", unquoteName(m[1]))
	}
	return tableKey(unquoteName(m[1]), unquoteName(m[2]))
}

func unquoteName(name string) string {
	if strings.HasPrefix(name, `"`) {
		return strings.ReplaceAll(name[1:len(name)-1], `""`, `"`)
	}
	return name
}

var plainName = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

// tableKey is how a table is called where rows are counted: schema.table, in quotes what needs them. Keywords are not
// looked at: which there are depends on the version. Names are in the encoding of the database, as its dump is; bytes
// that are no UTF-8 stand as \xE4, for a manifest could not hold them.
func tableKey(schema, table string) string {
	quote := func(name string) string {
		if plainName.MatchString(name) {
			return name
		}
		return escapeBytes(quoteName(name))
	}
	if schema == "" {
		return quote(table)
	}
	return quote(schema) + "." + quote(table)
}

func escapeBytes(name string) string {
	if utf8.ValidString(name) {
		return name
	}
	var b strings.Builder
	for _, c := range []byte(name) {
		if c < utf8.RuneSelf {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\x%X`, c)
		}
	}
	return b.String()
}
