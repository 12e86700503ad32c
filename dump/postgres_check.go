package dump

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"

	"github.com/caddy-backup/caddy-backup/backup"
)

// archiveCheck proves that an archive of pg_dump is whole while it is written.
//
// Of a form that we know, pg_restore gets the contents, which it must be able to make a script of; the rows, which it
// would only pass on byte by byte, are read by us, at a small part of the cost. Any other goes through pg_restore as a
// whole.
type archiveCheck struct {
	tools pgTools
	rows  map[string]int64 // by tableKey
	how   string           // it was checked, for people
}

// run reads in to its end. The error is nil only if there is nothing missing and nothing too much.
func (c *archiveCheck) run(ctx context.Context, t *backup.Task, in *io.PipeReader) error {
	archive := newArchiveReader(in)
	known, err := archive.known()
	if err != nil {
		return err
	}
	watch := newScriptWatch(scriptMarks[0].end)
	if !known {
		c.rows, c.how = watch.rows, "archive read to its end by pg_restore "+c.tools.version.text
		return c.script(ctx, t, c.tools.check(), watch, in, func(w io.Writer) error {
			_, err := io.Copy(w, archive.in)
			return err
		})
	}
	c.rows, c.how = archive.rows, "archive read to its end, its contents by pg_restore "+c.tools.version.text
	if err := c.script(ctx, t, c.tools.checkContents(), watch, in, archive.contents); err != nil {
		return err
	}
	return archive.data()
}

// script has pg_restore make a script of what give writes. The script goes to watch, and must have its end.
func (c *archiveCheck) script(ctx context.Context, t *backup.Task, check program, watch *scriptWatch, in *io.PipeReader,
	give func(io.Writer) error) error {
	theirs, ours, err := os.Pipe()
	if err != nil {
		return err
	}
	enlarge(ours)
	given := make(chan error, 1)
	go func() {
		err := give(ours)
		ours.Close()
		given <- err
	}()
	_, err = check.run(ctx, t, theirs, watch)
	if err != nil {
		in.CloseWithError(err) // ends give
	}
	giveErr := <-given
	refused := errors.Is(giveErr, syscall.EPIPE)
	if giveErr != nil && !refused && !errors.Is(giveErr, io.ErrClosedPipe) {
		return giveErr
	}
	if err == nil {
		err = watch.whole()
	}
	if err == nil && refused {
		err = errors.New("pg_restore ended well, but before it had read the whole archive")
	}
	return err
}
