package dump

import (
	"math"
	"strings"
)

// archiveContents is what stands in the beginning of an archive about the database that was dumped: pg_dump writes it
// first in the table of contents. An archive of a form that we do not know has none.
type archiveContents struct {
	server  string     // that was dumped: "15.18 (Debian 15.18-0+deb12u1)"
	entries []tocEntry // those that are whole in the beginning
}

// tocEntry is an entry of the table of contents, as far as we look at it.
type tocEntry struct{ tag, kind, sql, owner string }

// The formats of archives that we know, those of pg_dump 9.0 to 18.
const (
	tocOldest  = 12
	tocAccess  = 14 // since then there is the access method of a table
	tocCodec   = 15 // since then the compression is one byte
	tocRelkind = 16
	tocNewest  = 16

	tocCustom   = 1   // of the forms of an archive, the one that is a single file
	maxTocCount = 100 // entries that we look at: those of the database itself are among the first ten
)

// readContents reads the beginning of an archive.
func readContents(head []byte) (c archiveContents) {
	r := &tocReader{rest: head}
	magic := r.bytes(len(archiveMagic))
	version := r.bytes(3)
	sizes := r.bytes(3) // of a number, of an offset, and the form
	if r.bad || string(magic) != archiveMagic || version[0] != 1 || version[1] < tocOldest || version[1] > tocNewest || sizes[2] != tocCustom {
		return c
	}
	r.number = int(sizes[0])
	format, offset := version[1], int(sizes[1])
	if format >= tocCodec {
		r.bytes(1)
	} else {
		r.int()
	}
	for range 7 { // when it was made
		r.int()
	}
	_ = r.string() // the name of the database
	c.server = r.string()
	_ = r.string() // the version of pg_dump
	for range min(r.int(), maxTocCount) {
		e, ok := r.entry(format, offset)
		if !ok {
			break
		}
		c.entries = append(c.entries, e)
	}
	return c
}

// tocReader takes numbers and strings from the beginning of an archive. Behind its end there is nothing but zeros, and
// bad is set.
type tocReader struct {
	rest   []byte
	number int // bytes of a number, without that of its sign
	bad    bool
}

func (r *tocReader) bytes(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.bad, r.rest = true, nil
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

// int is a number: its sign, then its bytes, the lowest first.
func (r *tocReader) int() int {
	b := r.bytes(1 + r.number)
	if r.bad || len(b) > 9 {
		r.bad = true
		return 0
	}
	var n uint64
	for i, c := range b[1:] {
		n |= uint64(c) << (8 * i)
	}
	if n > math.MaxInt32 {
		r.bad = true
		return 0
	}
	if b[0] != 0 {
		return -int(n)
	}
	return int(n)
}

// string is a number of bytes and these; one of a negative number is none.
func (r *tocReader) string() string { return string(r.bytes(max(0, r.int()))) }

func (r *tocReader) entry(format byte, offset int) (e tocEntry, ok bool) {
	r.int()        // its number
	r.int()        // whether it has rows
	_ = r.string() // what it is in the catalog, and which one there
	_ = r.string()
	e.tag, e.kind = r.string(), r.string()
	r.int() // its section
	e.sql = r.string()
	for range 4 { // how to drop it, to copy its rows; its schema and tablespace
		_ = r.string()
	}
	if format >= tocAccess {
		_ = r.string()
	}
	if format >= tocRelkind {
		r.int()
	}
	e.owner = r.string()
	_ = r.string()                   // whether it has OIDs
	for !r.bad && r.string() != "" { // on which it depends
	}
	r.bytes(1 + offset) // where its rows are
	return e, !r.bad
}

// sql is the text of the entries of a kind that are of the database itself.
func (c archiveContents) sql(kind string) string {
	var b strings.Builder
	for _, e := range c.entries {
		if e.kind == kind && (strings.HasPrefix(kind, "DATABASE") || strings.HasPrefix(e.tag, "DATABASE ")) {
			b.WriteString(e.sql)
		}
	}
	return b.String()
}

// owner is whom the dumped database belonged to.
func (c archiveContents) owner() string {
	for _, e := range c.entries {
		if e.kind == "DATABASE" {
			return e.owner
		}
	}
	return ""
}
