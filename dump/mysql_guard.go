package dump

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/caddy-backup/caddy-backup/backup"
)

// myGuard lets those statements of a script pass that the dump programs write for what is in one database, and refuses all
// others: a dump that somebody else has shaped runs with the rights of our user, but reaches nothing outside of the database
// that it is restored into, neither other databases, users and settings of the server nor its files. What is only stored now
// and runs later, in triggers, routines, events and views, is not looked into: that is what it means to restore them. So that
// nothing of it runs already while the dump is restored, rows are literals, and no table is filled behind its triggers.
type myGuard struct {
	mode     sqlMode         // of the session, as the server says
	charset  string          // character_set_client, as the server says
	caseless bool            // names of tables that differ in case are the same
	origin   string          // the database that was dumped, "" when nobody knows
	routines bool            // there are some
	closed   map[string]bool // tables that have triggers, or whose rows are elsewhere, and views: nothing is filled in
	enabled  []string        // events that were enabled: they are made disabled
	ours     bool            // views and routines are made as ours: who defined them may have no rights in a database of this name
	patient  bool            // views that cannot be made for such a reason are kept in late
	late     []byte          // a script that makes them
}

func newMyGuard(origin string) *myGuard {
	return &myGuard{origin: origin, closed: map[string]bool{}}
}

// key is that of a table in closed.
func (g *myGuard) key(table string) string {
	if g.caseless {
		return strings.ToLower(table)
	}
	return table
}

// unclear reports whether a token outside of quotes has bytes that some character sets have for space, or for characters that
// begin a comment behind two dashes.
func (g *myGuard) unclear(t myToken) bool {
	switch {
	case t.kind == 0x7f:
		return true
	case t.kind != 'w' && t.kind < 0x80, g.charset == "", strings.HasPrefix(g.charset, "utf8"):
		return false
	case g.charset == "latin1":
		return bytes.IndexByte(t.text, 0xa0) >= 0
	}
	return bytes.ContainsFunc(t.text, func(r rune) bool { return r >= 0x80 })
}

// ambiguous are character sets in whose characters a byte can stand that looks like a backslash or a quote.
var ambiguous = []string{"big5", "gbk", "gb18030", "sjis", "cp932"}

// readTwoWays reports whether such a byte follows one that may begin a character.
func readTwoWays(stmt []byte) bool {
	for i := 1; i < len(stmt); i++ {
		if stmt[i-1] >= 0x80 && bytes.IndexByte([]byte("\\'\"`"), stmt[i]) >= 0 {
			return true
		}
	}
	return false
}

// admit returns the statement to run in the place of one of the script; nil: none.
func (g *myGuard) admit(stmt []byte) ([]byte, error) {
	stmt = bytes.TrimSpace(stmt)
	if slices.Contains(ambiguous, g.charset) && readTwoWays(stmt) {
		return nil, fmt.Errorf("%w: a statement in the character set %s that can be read in two ways", backup.ErrInvalid, g.charset)
	}
	if x, ok := openInsert(stmt, g.mode); ok {
		return stmt, g.rows(x)
	}
	if g.ours && !ofTriggers.Match(stmt[:min(len(stmt), insertHead)]) {
		stmt = g.withoutDefiner(stmt)
	}
	h := g.head(stmt)
	switch {
	case settings.Match(stmt):
		if notOurs.Match(stmt) {
			return nil, refused(stmt)
		}
		return stmt, nil
	case h.words("CREATE"):
		return g.create(stmt, h)
	case h.words("DROP"):
		return stmt, h.dropped(stmt)
	case h.words("LOCK", "TABLES"), h.words("UNLOCK", "TABLES"):
		return nil, nil // nobody else is in the new database, and a default that draws from a sequence cannot with locks
	case alterDatabase.Match(stmt):
		return ofThisDatabase(stmt), nil
	case plainForms.Match(stmt):
		return stmt, nil
	}
	return nil, refused(stmt)
}

func refused(stmt []byte) error {
	return fmt.Errorf("%w: a statement that is in no dump of one database: %.60q", backup.ErrInvalid, stmt)
}

// plainForms are statements that are written in one way only.
var plainForms = regexp.MustCompile("^(?:" +
	"/\\*!40000 ALTER TABLE `(?:[^`]|``)+` (?:DIS|EN)ABLE KEYS \\*/|" +
	"(?:DO|SELECT) (?i:setval)\\(`(?:[^`]|``)+`, -?[0-9]+, [01](?:, [0-9]+)?\\)|" +
	"(?i:commit|start transaction))$")

// rows looks through an INSERT.
func (g *myGuard) rows(x *myInsert) error {
	if g.routines || g.closed[g.key(x.table)] {
		return fmt.Errorf("%w: rows for table %s, which has triggers already, keeps its rows elsewhere or is a view, or behind routines: no dump program writes that", backup.ErrInvalid, x.table)
	}
	values, err := make([][]byte, 0, 64), error(nil)
	for {
		if values, err = x.next(values); err != nil || len(values) == 0 {
			return err
		}
	}
}

// settings are variables of the session with plain values: SET NAMES utf8mb4, SET @a=@@b, c=0.
var (
	settings = regexp.MustCompile(`^(?:/\*M?!\d{5,6} ?)?(?i:SET) (?:NAMES [a-zA-Z0-9_]+|` + plainSetting + `(?:, ` + plainSetting + `)*) *(?:\*/)?$`)
	notOurs  = regexp.MustCompile(`(?i)global|persist|password|\brole\b|sql_log_bin|init_connect|storage_engine`)
)

const plainSetting = `(?:@|@@|@@(?i:session)\.)?[a-zA-Z_0-9]+ *= *(?:'[^'\\]*'|-?[a-zA-Z0-9_]+|@[a-zA-Z_0-9]+|@@(?:(?i:session)\.)?[a-zA-Z_0-9]+)`

// myHead reads the tokens that a statement begins with. Comments that all servers read are no tokens here.
type myHead struct {
	tokens []myToken // the first ones
	mode   sqlMode
	hidden bool // what follows is in a comment that only some servers read, or may be read in two ways
}

const headTokens = 48

// oldComment begins one that all servers read that there are: /*!50003.
var oldComment = regexp.MustCompile(`^/\*!(?:[34]\d{4}|50[0-6]\d\d)$`)

func (g *myGuard) head(stmt []byte) *myHead {
	h := &myHead{mode: g.mode}
	for t := range myTokens(stmt, g.mode) {
		switch {
		case t.kind == '*' || t.kind == '!' && oldComment.Match(t.text):
			continue
		case t.kind == '!' || g.unclear(t):
			h.hidden = true
			return h
		}
		if h.tokens = append(h.tokens, t); len(h.tokens) == headTokens {
			break
		}
	}
	return h
}

// words takes these words if they come next.
func (h *myHead) words(words ...string) bool {
	for i, w := range words {
		if i >= len(h.tokens) || !h.tokens[i].is(w) {
			return false
		}
	}
	h.tokens = h.tokens[len(words):]
	return true
}

// take takes the next token; one of kind 0 when there is none.
func (h *myHead) take() (t myToken) {
	if len(h.tokens) > 0 {
		t, h.tokens = h.tokens[0], h.tokens[1:]
	}
	return t
}

func (h *myHead) peek() (t myToken) {
	if len(h.tokens) > 0 {
		t = h.tokens[0]
	}
	return t
}

// own takes a name without that of a database before it.
func (h *myHead) own() (name string, ok bool) {
	if t := h.take(); t.name(h.mode) && h.peek().kind != '.' && !(h.hidden && len(h.tokens) == 0) {
		return t.unquoted(), true
	}
	return "", false
}

// dropped looks at what follows DROP.
func (h *myHead) dropped(stmt []byte) error {
	kinds := [][]string{{"TABLE"}, {"VIEW"}, {"SEQUENCE"}, {"TRIGGER"}, {"EVENT"}, {"PROCEDURE"}, {"FUNCTION"}, {"PACKAGE", "BODY"}, {"PACKAGE"}}
	if slices.ContainsFunc(kinds, func(kind []string) bool { return h.words(kind...) }) && h.words("IF", "EXISTS") {
		if _, ok := h.own(); ok && len(h.tokens) == 0 && !h.hidden {
			return nil
		}
	}
	return refused(stmt)
}
