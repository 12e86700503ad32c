package dump

import (
	"context"
	"errors"
	"io"

	"github.com/caddy-backup/caddy-backup/backup"
)

// dumpAlong gives the output of a program to w and to read, which says what is in it and whether it is whole. The error is nil
// only if the program ended well and read found no fault.
func dumpAlong[T any](ctx context.Context, t *backup.Task, p program, w io.Writer, read func(io.Reader) (T, error)) (T, error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	in, tee := io.Pipe()
	type result struct {
		found T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		found, err := read(in)
		if err != nil {
			fail(err) // ends the dump: it is worth nothing
		}
		in.CloseWithError(err)
		done <- result{found, err}
	}()
	_, err := p.run(ctx, t, nil, io.MultiWriter(w, tee))
	if err != nil {
		tee.CloseWithError(err)
	} else {
		tee.Close()
	}
	r := <-done
	if err == nil || r.err != nil && errors.Is(err, r.err) {
		return r.found, r.err
	}
	return *new(T), err
}
