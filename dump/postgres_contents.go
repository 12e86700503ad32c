package dump

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// archiveContents is what stands in the beginning of an archive about the database that was dumped: pg_dump writes it
// first in the table of contents. An archive of a form that we do not know has none.
type archiveContents struct {
	server  string     // that was dumped: "15.18 (Debian 15.18-0+deb12u1)"
	entries []tocEntry // those that are whole in the beginning
}

// tocEntry is an entry of the table of contents, as far as we look at it.
type tocEntry struct {
	id                    int
	tag, kind, sql, owner string
	copying               string // the command that takes its rows, "" when it has none
	data                  bool   // there is a block of data for it
}

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
	r := &tocReader{in: bytes.NewReader(head)}
	h := r.header()
	c.server = h.server
	for range min(h.entries, maxTocCount) {
		e := r.entry()
		if r.err != nil {
			break
		}
		c.entries = append(c.entries, e)
	}
	return c
}

// archiveHeader is what stands before the entries of an archive.
type archiveHeader struct {
	version     int // of the format: 14 for 1.14
	number      int // bytes of a number, without that of its sign
	offset      int // bytes of a position in the archive
	compression int // 0: none
	server      string
	entries     int
}

// tocReader takes numbers and strings from an archive. From the first fault on there is nothing but zeros, and err is set.
type tocReader struct {
	in  io.Reader
	of  archiveHeader
	err error

	taken []byte // what bytes returned last
}

// tocStep bounds what is allocated before it has come: a damaged length asks for anything.
const tocStep = 64 << 10 // bytes

// bytes is valid until the next call.
func (r *tocReader) bytes(n int) []byte {
	r.taken = r.taken[:0]
	for r.err == nil && len(r.taken) < n {
		have, step := len(r.taken), min(n-len(r.taken), tocStep)
		r.taken = slices.Grow(r.taken, step)[:have+step]
		_, err := io.ReadFull(r.in, r.taken[have:])
		r.fail(err)
	}
	if r.err != nil {
		return make([]byte, min(n, 16)) // enough for all but strings
	}
	return r.taken
}

func (r *tocReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// header reads up to the first entry.
func (r *tocReader) header() (h archiveHeader) {
	magic := string(r.bytes(len(archiveMagic)))
	version := [3]byte(r.bytes(3))
	sizes := [3]byte(r.bytes(3)) // of a number, of an offset, and the form
	h.version, h.number, h.offset = int(version[1]), int(sizes[0]), int(sizes[1])
	if magic != archiveMagic || version[0] != 1 || h.version < tocOldest || h.version > tocNewest || h.number > 8 || sizes[2] != tocCustom {
		r.fail(errors.New("it begins like no archive that we know"))
	}
	r.of = h
	if h.version >= tocCodec {
		h.compression = int(r.bytes(1)[0])
	} else {
		h.compression = r.int()
	}
	for range 7 { // when it was made
		r.int()
	}
	_ = r.string() // the name of the database
	h.server = r.string()
	_ = r.string() // the version of pg_dump
	h.entries = r.int()
	r.of = h
	return h
}

// int is a number: its sign, then its bytes, the lowest first.
func (r *tocReader) int() int {
	b := r.bytes(1 + r.of.number)
	var n uint64
	for i, c := range b[1:] {
		n |= uint64(c) << (8 * i)
	}
	if n > math.MaxInt32 || b[0] > 1 {
		r.fail(errors.New("there is no number where one should be"))
		return 0
	}
	if b[0] == 1 {
		return -int(n)
	}
	return int(n)
}

// string is a number of bytes and these; one of a negative number is none.
func (r *tocReader) string() string {
	text := r.bytes(max(0, r.int()))
	if r.err != nil {
		return ""
	}
	return string(text)
}

// Where the data of an entry is, as an archive says.
const (
	dataSomewhere = 1
	dataAtOffset  = 2
	dataNone      = 3
)

func (r *tocReader) entry() (e tocEntry) {
	e.id = r.int()
	e.data = r.int() != 0
	_ = r.string() // what it is in the catalog, and which one there
	_ = r.string()
	e.tag, e.kind = r.string(), r.string()
	r.int() // its section
	e.sql = r.string()
	_ = r.string() // how to drop it
	e.copying = r.string()
	_ = r.string() // its schema and tablespace
	_ = r.string()
	if r.of.version >= tocAccess {
		_ = r.string()
	}
	if r.of.version >= tocRelkind {
		r.int()
	}
	e.owner = r.string()
	_ = r.string()                         // whether it has OIDs
	for r.err == nil && r.string() != "" { // on which it depends
	}
	where := r.bytes(1 + r.of.offset)[0]
	if e.id <= 0 || where < dataSomewhere || where > dataNone || e.data != (where != dataNone) {
		r.fail(fmt.Errorf("entry %d of the contents contradicts itself", e.id))
	}
	return e
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
