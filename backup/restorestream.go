package backup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
)

// A dump that comes as a stream cannot be verified first and restored then. It is verified while it is restored, and the
// source sees its end only when it is whole and its verifier has nothing against it: until then the live one is as it was.

// openStream looks at the beginning of the stream, before anything is touched.
func (x *fileRestoreRun) openStream(ctx context.Context) error {
	x.setStep("waiting for " + x.request.File)
	context.AfterFunc(ctx, func() { x.request.Stream.Close() }) // the time is up, or nothing moves any more
	d, err := streamDump(ctx, x.request.File, x.request.Stream, func(n int64) { x.read.Add(n) })
	if err != nil {
		return err
	}
	in := bufio.NewReader(d.in)
	head, err := in.Peek(sniffed)
	if err != nil && !errors.Is(err, io.EOF) {
		return d.fault(err)
	}
	if len(head) == 0 {
		return fmt.Errorf("%w: it is empty", ErrInvalid)
	}
	if looks, kind := looksLike(head), x.part.source.Kind; looks != "" && looks != kind && kind != "django" && kind != "command" {
		return fmt.Errorf("%w: it looks like a dump of a source of kind %s, and %s is of kind %s", ErrInvalid, looks, x.part.Name, kind)
	}
	d.in, x.stream = in, d
	return nil
}

// feedStream gives the stream to f, once, beside the verifier of its source. What f leaves unread is read then.
func (x *fileRestoreRun) feedStream(ctx context.Context, f func(io.Reader) error) error {
	defer x.stream.Close()
	var from io.Reader = awaitedReader{&wholeReader{file: x.stream}, &x.life}
	if v, ok := x.part.source.Source.(Verifier); ok {
		r := x.judge(ctx, v, from)
		defer r.giveUp()
		from = r
	}
	if err := f(from); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, from)
	return err
}

// judge has a verifier read along.
func (x *fileRestoreRun) judge(ctx context.Context, v Verifier, from io.Reader) *judgedReader {
	theirs, tee := io.Pipe()
	verdict := make(chan error, 1)
	go func() {
		err := x.guard(ctx, "check of "+x.part.Name, func() error {
			facts, err := v.Verify(ctx, x.part.Part, theirs, x.task())
			if err == nil {
				_, err = io.Copy(io.Discard, theirs)
			}
			if err == nil {
				x.log.Info("verified "+x.request.File, "checked", facts.Checked)
			}
			return err
		})
		_ = theirs.CloseWithError(err) // whoever restores does not wait for somebody who reads no more
		verdict <- err
	}()
	return &judgedReader{from: from, tee: tee, verdict: verdict, kind: x.part.source.Kind}
}

// judgedReader gives what it reads to a verifier too, and has the end seen only when that has found the dump whole.
type judgedReader struct {
	from    io.Reader
	tee     *io.PipeWriter
	verdict <-chan error
	kind    string // of the source
	end     error  // what the end was
}

func (j *judgedReader) Read(p []byte) (int, error) {
	if j.end != nil {
		return 0, j.end
	}
	n, err := j.from.Read(p)
	if n > 0 {
		if _, lost := j.tee.Write(p[:n]); lost != nil { // the verifier has seen enough: its verdict is there
			n, err = 0, io.EOF
		}
	}
	if err != nil {
		j.end = j.judged(err)
	}
	return n, j.end
}

// judged ends the verifier's reading by an end of ours, and returns what end that is with its verdict.
func (j *judgedReader) judged(end error) error {
	_ = j.tee.CloseWithError(end) // io.EOF is the clean end
	verdict := <-j.verdict
	if errors.Is(end, io.EOF) && verdict != nil {
		return fmt.Errorf("it is not whole, or no dump of a source of kind %s: %w", j.kind, verdict)
	}
	return end
}

// errUnread ends the verifier's reading of a dump that nobody reads further.
var errUnread = errors.New("the rest of the dump was not read")

// giveUp ends the verifier, unless it has ended.
func (j *judgedReader) giveUp() {
	if j.end == nil {
		j.end = j.judged(errUnread)
	}
}
