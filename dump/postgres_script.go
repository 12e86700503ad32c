package dump

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"github.com/caddy-backup/caddy-backup/backup"
)

// pgStream is a dump that is to go back, with its beginning looked at.
type pgStream struct {
	in     *bufio.Reader
	head   []byte
	script string // the last line of a script; "" of an archive
	roles  bool   // a script of what belongs to no database

	server   string          // that was dumped, where the dump says so: "PostgreSQL 15.18"
	contents archiveContents // of an archive
}

// openDump finds out what a dump is.
func openDump(r io.Reader) (*pgStream, error) {
	s := &pgStream{in: bufio.NewReaderSize(r, archiveHead)}
	var err error
	if s.head, err = s.in.Peek(archiveHead); err != nil && err != io.EOF {
		return nil, err
	}
	if bytes.HasPrefix(s.head, []byte(archiveMagic)) {
		s.contents = readContents(s.head)
		s.server, _, _ = strings.Cut("PostgreSQL "+s.contents.server, " (")
		return s, nil
	}
	if m := dumpedFrom.FindSubmatch(s.head); m != nil {
		s.server = "PostgreSQL " + string(m[1])
	}
	for i, mark := range scriptMarks {
		if bytes.Contains(unixLines(s.head[:min(len(s.head), scriptHead)]), []byte(mark.begin)) {
			s.script, s.roles = mark.end, i == 1
			return s, nil
		}
	}
	return nil, fmt.Errorf("%w: this is neither an archive of pg_dump in its custom format nor a script of pg_dump", backup.ErrInvalid)
}

// dumpedFrom is where a script tells which server was dumped.
var dumpedFrom = regexp.MustCompile(`(?m)^-- Dumped from database version (\S+)`)

// restriction is how a script of pg_dump begins since 2025, behind comments.
var restriction = regexp.MustCompile(`\A((?:--[^\n]*\r?\n|\r?\n)*)\\restrict ([A-Za-z0-9]+)\r?\n`)

// text is the script for psql, as a whole or not at all: an error instead of its end when that is not there. The
// restriction that it came with is taken out, because psql gets a better one from us.
func (s *pgStream) text() io.Reader {
	var begin io.Reader = strings.NewReader("")
	key := []byte(nil)
	if m := restriction.FindSubmatch(s.head); m != nil {
		begin, key = bytes.NewReader(bytes.Clone(m[1])), bytes.Clone(m[2])
		s.in.Discard(len(m[0]))
	}
	end := func(tail []byte) ([]byte, error) {
		if !bytes.Contains(append(unixLines(tail), '\n'), []byte("\n"+s.script)) {
			return nil, cutOff(s.script)
		}
		if key == nil {
			return tail, nil
		}
		return regexp.MustCompile(`(?m)^\\unrestrict `+string(key)+`\r?\n?`).ReplaceAll(tail, nil), nil
	}
	return io.MultiReader(begin, &heldReader{in: s.in, keep: scriptTail, end: end})
}

// archive is the archive for pg_restore: without its last byte, which pg_restore cannot do without, until there is
// nothing wrong with the end.
func (s *pgStream) archive() io.Reader {
	return &heldReader{in: s.in, keep: 1, end: func(tail []byte) ([]byte, error) { return tail, nil }}
}

// heldReader holds the last bytes back until it is known that the end has come, and lets somebody judge them.
type heldReader struct {
	in   io.Reader
	keep int
	end  func(tail []byte) ([]byte, error)

	room  [32 << 10]byte
	have  []byte // read, but not given yet; in room until the end
	ended bool
	fault error
}

func (h *heldReader) Read(p []byte) (int, error) {
	for h.fault == nil && !h.ended && len(h.have) <= h.keep {
		n := copy(h.room[:], h.have)
		more, err := h.in.Read(h.room[n:])
		h.have = h.room[:n+more]
		if err == io.EOF {
			h.ended = true
			h.have, err = h.end(h.have)
		}
		h.fault = err
	}
	if h.fault != nil {
		return 0, h.fault
	}
	free := h.have
	if !h.ended {
		free = free[:len(free)-h.keep]
	}
	if len(free) == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	n := copy(p, free)
	h.have = h.have[n:]
	return n, nil
}

// cutOff is the error for a script without its end.
func cutOff(end string) error {
	return fmt.Errorf("the script is cut off: it does not end with the line %q", strings.TrimSpace(end))
}

// restricted is a script that psql reads with all of its own commands forbidden, so that no text in it can have it run
// a program. Nobody can know the key that would allow them again.
func restricted(script io.Reader) io.Reader {
	key := make([]byte, 20)
	rand.Read(key) // never fails
	return io.MultiReader(strings.NewReader(`\restrict `+hex.EncodeToString(key)+"\n"), script)
}

// psql finds the newest psql that can be restricted. It may be newer than the server.
func (p *Postgres) psql(ctx context.Context) (path string, err error) {
	found, err := p.allTools(ctx)
	if err != nil {
		return "", err
	}
	slices.SortFunc(found, func(a, b pgTools) int {
		if a.version.major != b.version.major {
			return b.version.major - a.version.major
		}
		return b.version.minor - a.version.minor
	})
	for _, tools := range found {
		path := tools.beside("psql")
		if _, err := exec.LookPath(path); err == nil && offers(ctx, path, "--help=commands", `\restrict`) {
			return path, nil
		}
	}
	if err := context.Cause(ctx); err != nil {
		return "", err
	}
	if len(found) == 0 {
		if _, err := findProgram("psql"); err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("no psql is installed that can keep a script from running programs: install the last correction of the " +
		"package postgresql-client (13.22, 14.19, 15.14, 16.10, 17.6 or newer)")
}

var psqlArgs = []string{"--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--no-password", "--file=-"}
