package dump

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/caddy-backup/caddy-backup/backup"
)

// What pg_dump and pg_dumpall write at the beginning and at the end of a script. Behind the end there may be a blank
// line and a command that takes back a restriction; nothing else.
var scriptMarks = []struct{ begin, end string }{
	{"-- PostgreSQL database dump\n", "-- PostgreSQL database dump complete\n"},
	{"-- PostgreSQL database cluster dump\n", "-- PostgreSQL database cluster dump complete\n"},
}

const (
	scriptHead = 4 << 10 // bytes in which the beginning stands: comments may be before it
	scriptTail = 1 << 10 // bytes in which the end stands
)

// Verify judges a dump that was made before: an archive is read to its end by pg_restore, one in tar by us, and a script
// must have the line that pg_dump writes last.
func (p *Postgres) Verify(ctx context.Context, _ backup.Part, r io.Reader, t *backup.Task) (backup.Facts, error) {
	in := bufio.NewReaderSize(r, archiveHead)
	head, err := in.Peek(scriptHead)
	if err != nil && !errors.Is(err, io.EOF) {
		return backup.Facts{}, err
	}
	if bytes.HasPrefix(head, []byte(archiveMagic)) {
		return p.verifyArchive(ctx, in, t)
	}
	if bytes.HasPrefix(head, []byte(tarMark)) {
		return verifyTar(ctx, in)
	}
	for _, mark := range scriptMarks {
		if bytes.Contains(unixLines(head), []byte(mark.begin)) {
			return verifyScript(ctx, in, mark.end)
		}
	}
	return backup.Facts{}, fmt.Errorf("%w: it is neither an archive nor a script of pg_dump", backup.ErrInvalid)
}

// verifyArchive takes the newest pg_restore that there is: the server that the archive is of may be long gone.
func (p *Postgres) verifyArchive(ctx context.Context, in io.Reader, t *backup.Task) (backup.Facts, error) {
	found, err := p.allTools(ctx)
	if err != nil {
		return backup.Facts{}, err
	}
	var newest pgTools
	for _, tools := range found {
		if tools.version.major >= newest.version.major {
			newest = tools
		}
	}
	if newest.restore == "" {
		_, err := findProgram("pg_restore")
		return backup.Facts{}, errors.Join(errors.New("only pg_restore can tell whether an archive is whole"), err)
	}
	watch := newScriptWatch(scriptMarks[0].end)
	if _, err := newest.check().run(ctx, t, in, watch); err != nil {
		return backup.Facts{}, err
	}
	if err := watch.whole(); err != nil {
		return backup.Facts{}, err
	}
	return backup.Facts{Checked: "archive read to its end by pg_restore " + newest.version.text, Rows: watch.rows}, nil
}

// What pg_dump writes into a tar first and last, and how a tar ends.
const (
	tarMark = "toc.dat\x00"
	tarLast = "restore.sql"
	tarEnd  = 1024 // bytes of zeros
)

// verifyTar does without pg_restore, which goes round for ever in one that is cut off.
func verifyTar(ctx context.Context, in io.Reader) (backup.Facts, error) {
	tail := &tailWriter{keep: tarEnd}
	whole := io.TeeReader(&contextReader{ctx, in}, tail)
	last := ""
	for archive := tar.NewReader(whole); ; {
		entry, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			last = entry.Name
			_, err = io.Copy(io.Discard, archive)
		}
		if err != nil {
			return backup.Facts{}, fmt.Errorf("the tar is not whole, behind %q: %w", last, err)
		}
	}
	if _, err := io.Copy(io.Discard, whole); err != nil {
		return backup.Facts{}, err
	}
	if last != tarLast || !bytes.Equal(tail.last, make([]byte, tarEnd)) {
		return backup.Facts{}, fmt.Errorf("the tar is cut off behind %q: pg_dump ends it with %s and zeros", last, tarLast)
	}
	return backup.Facts{
		Checked: "tar read to its end",
		Notes:   []string{"it is a tar, not an archive of the custom format: it goes back with pg_restore, from the file"},
	}, nil
}

func verifyScript(ctx context.Context, in io.Reader, end string) (backup.Facts, error) {
	watch := newScriptWatch(end)
	if _, err := io.Copy(watch, &contextReader{ctx, in}); err != nil {
		return backup.Facts{}, err
	}
	if err := watch.whole(); err != nil {
		return backup.Facts{}, err
	}
	return backup.Facts{Checked: checkedScript, Rows: watch.rows}, nil
}

// unixLines takes away the carriage returns of a dump that was made on Windows.
func unixLines(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")) }

// tailWriter keeps the last bytes of what is written to it.
type tailWriter struct {
	keep int
	last []byte
}

func (w *tailWriter) Write(p []byte) (int, error) {
	w.last = append(w.last, p[max(0, len(p)-w.keep):]...)
	w.last = append(w.last[:0], w.last[max(0, len(w.last)-w.keep):]...)
	return len(p), nil
}

var _ backup.Verifier = (*Postgres)(nil)
