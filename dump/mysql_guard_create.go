package dump

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
)

// create looks at what follows CREATE, and changes it where it would reach out of the database, or begin to run.
func (g *myGuard) create(stmt []byte, h *myHead) ([]byte, error) {
	switch {
	case h.words("TABLE"):
		return g.table(stmt, h)
	case h.words("SEQUENCE"):
		if _, ok := h.own(); ok && !h.hidden && len(h.tokens) < headTokens/2 && !bytes.ContainsAny(stmt, "(") {
			return stmt, nil
		}
		return nil, refused(stmt)
	}
	h.options()
	if !h.definer() {
		return nil, refused(stmt)
	}
	if h.words("SQL", "SECURITY") {
		h.take()
	}
	ok := false
	switch {
	case h.words("VIEW"):
		var name string
		name, ok = h.own()
		g.closed[g.key(name)] = true
	case h.words("TRIGGER"):
		return g.trigger(stmt, h)
	case h.words("EVENT"):
		return g.event(stmt, h)
	case h.words("PROCEDURE"), h.words("PACKAGE", "BODY"), h.words("PACKAGE"):
		_, ok = h.own()
		g.routines = true
	case h.words("FUNCTION"), h.words("AGGREGATE", "FUNCTION"):
		ok = h.function()
		g.routines = true
	}
	if !ok {
		return nil, refused(stmt)
	}
	return stmt, nil
}

// options takes what may stand between CREATE and DEFINER.
func (h *myHead) options() {
	h.words("OR", "REPLACE")
	if h.peek().is("ALGORITHM") {
		h.tokens = h.tokens[min(3, len(h.tokens)):] // ALGORITHM = UNDEFINED
	}
}

// ofTriggers are statements that make triggers and events, which nobody runs in a drill: they keep who defined them, so that it
// shows whether our user may make them for others.
var ofTriggers = regexp.MustCompile(`(?i)^[^(]{0,400}\b(?:TRIGGER|EVENT)\b`)

// withoutDefiner takes DEFINER = user @ host out of a statement that has it.
func (g *myGuard) withoutDefiner(stmt []byte) []byte {
	h := g.head(stmt)
	if !h.words("CREATE") {
		return stmt
	}
	h.options()
	before := h.tokens
	if !h.definer() || len(h.tokens) == len(before) {
		return stmt
	}
	last := before[len(before)-len(h.tokens)-1]
	return slices.Concat(stmt[:before[0].at], stmt[last.at+len(last.text):])
}

// definer takes DEFINER = user @ host, if that comes next.
func (h *myHead) definer() bool {
	if !h.words("DEFINER") {
		return true
	}
	if h.take().kind != '=' {
		return false
	}
	h.take()
	if h.peek().kind == '@' {
		h.take()
		h.take()
	}
	return true
}

// function takes the name of one that is written in SQL: CREATE FUNCTION … SONAME would load a library.
func (h *myHead) function() bool {
	if _, ok := h.own(); !ok {
		return false
	}
	return h.peek().kind == '(' || h.peek().is("RETURN")
}

// outside are engines whose rows are in other tables, files or servers. The dump programs write none for them.
var outside = []string{"MERGE", "MRG_MYISAM", "MRG_ISAM", "FEDERATED", "FEDERATEDX", "CONNECT", "SPIDER"}

// table looks through a table's definition: no rows of others come with it, and no definition of theirs, which may be that of one
// whose rows are elsewhere. A default that draws from a sequence of the database that was dumped draws from the one that is restored.
func (g *myGuard) table(stmt []byte, h *myHead) ([]byte, error) {
	h.words("IF", "NOT", "EXISTS")
	table, ok := h.own()
	if !ok || g.routines || strings.EqualFold(table, journalTable) || h.take().kind != '(' || h.peek().is("LIKE") {
		return nil, refused(stmt)
	}
	var last [6]myToken // but for beginnings and ends of comments; the last is that of the turn
	values := false
	var names []myToken // those of the dumped database before a sequence
	for t := range myTokens(stmt, g.mode) {
		if values && !t.is("LESS", "IN") {
			return nil, refused(stmt)
		}
		if values = t.is("VALUES"); t.kind == '!' || t.kind == '*' {
			continue
		}
		copy(last[:], last[1:])
		last[5] = t
		if t.is("SELECT") || t.is("TABLE") && t.at > h.peek().at || g.unclear(t) {
			return nil, refused(stmt)
		}
		// The programs write nextval(…) there, and leave the name of the dumped database out of its own foreign keys.
		if last[4].is("NEXT", "PREVIOUS") && t.is("VALUE") || last[3].is("REFERENCES") && t.kind == '.' && g.origin != "" && last[4].name(g.mode) && last[4].unquoted() == g.origin {
			return nil, refused(stmt)
		}
		if last[4].is("ENGINE") && t.kind != '=' || last[3].is("ENGINE") && last[4].kind == '=' {
			if t.kind != 'w' { // in quotes it could be written in many ways
				return nil, refused(stmt)
			}
			if t.is(outside...) {
				g.closed[g.key(table)] = true
			}
		}
		// nextval ( `shop` . `numbers`
		if last[1].is("NEXTVAL", "LASTVAL") && last[2].kind == '(' && last[4].kind == '.' && last[3].kind == '`' && last[3].unquoted() == g.origin {
			names = append(names, last[3])
		}
	}
	for _, t := range slices.Backward(names) {
		stmt = slices.Concat(stmt[:t.at], stmt[t.at+len(t.text)+1:])
	}
	return stmt, nil
}

// trigger takes the name of the database away that may stand before a trigger and its table: triggers are dumped in the very
// words of who made them, and would be made on the live table.
func (g *myGuard) trigger(stmt []byte, h *myHead) ([]byte, error) {
	h.words("IF", "NOT", "EXISTS")
	cut := [][2]int{}
	name := func() (string, bool) {
		first := h.take()
		if h.peek().kind == '.' {
			h.take()
			second := h.take()
			cut = append(cut, [2]int{first.at, second.at})
			first = second
		}
		return first.unquoted(), first.name(g.mode)
	}
	_, ok := name()
	for ok && len(h.tokens) > 0 && !h.peek().is("ON") {
		ok = h.take().kind == 'w' // BEFORE INSERT OR UPDATE
	}
	if !ok || !h.words("ON") {
		return nil, refused(stmt)
	}
	table, ok := name()
	if !ok || len(h.tokens) == 0 {
		return nil, refused(stmt)
	}
	g.closed[g.key(table)] = true
	for _, c := range slices.Backward(cut) {
		stmt = slices.Concat(stmt[:c[0]], stmt[c[1]:])
	}
	return stmt, nil
}

// event makes an event that does not run, and remembers it if it did.
func (g *myGuard) event(stmt []byte, h *myHead) ([]byte, error) {
	h.words("IF", "NOT", "EXISTS")
	name, ok := h.own()
	if !ok {
		return nil, refused(stmt)
	}
	for len(h.tokens) > 0 {
		switch t := h.take(); {
		case t.is("DISABLE"):
			return stmt, nil
		case t.is("ENABLE"):
			g.enabled = append(g.enabled, name)
			return slices.Concat(stmt[:t.at], []byte("DISABLE"), stmt[t.at+len(t.text):]), nil
		case t.is("DO", "COMMENT"):
			return nil, refused(stmt)
		}
	}
	return nil, refused(stmt)
}
