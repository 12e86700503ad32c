package handler

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-backup/caddy-backup/archive"
	"github.com/caddy-backup/caddy-backup/repo"
)

// computed is an answer that is made while it is sent. It has no ranges, and mostly no length that is known beforehand.
type computed struct {
	header http.Header // what tells of the content
	etag   string
	size   int64 // bytes; -1 when nobody knows yet
	write  func(io.Writer) error
}

// take makes frames the content, whose length is known. Frames that are cut off between two of them look whole to
// programs that see only the file, so that what is cut off ends with the beginning of another.
func (a *computed) take(frames *repo.File) {
	a.size = frames.Size()
	a.write = func(w io.Writer) error {
		err := archive.WriteFile(w, archive.Raw, frames)
		if err != nil {
			_, _ = w.Write([]byte{0x28, 0xB5, 0x2F, 0xFD}) // the magic number of a frame
		}
		return err
	}
}

// serve is as offer.serve.
func (a *computed) serve(w http.ResponseWriter, r *http.Request, failed func(error)) error {
	r = conditional(r)
	if status := precondition(r, a.etag); status != http.StatusOK {
		w.Header().Set("ETag", a.etag)
		setDefault(w.Header(), "Cache-Control", a.header.Get("Cache-Control"))
		w.WriteHeader(status)
		return nil
	}
	out := &sink{w: w, begin: func() { a.describe(w.Header()) }}
	if r.Method == http.MethodHead {
		out.start()
		return nil
	}
	buffer := bufio.NewWriterSize(out, 16<<10) // so that what is wrong at the beginning is still answered as an error
	err := a.write(buffer)
	if err == nil {
		err = buffer.Flush()
	}
	switch {
	case err == nil:
		out.start() // of nothing at all
	case !out.started:
		return err
	case out.gone != nil: // there is nobody to hear of it
		panic(http.ErrAbortHandler)
	default:
		failed(err)
		_ = buffer.Flush() // all that was good, and what spoils the rest
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	return nil
}

func (a *computed) describe(h http.Header) {
	for name, values := range a.header {
		if h.Get(name) == "" {
			h[name] = values
		}
	}
	h.Set("ETag", a.etag)
	h.Set("Accept-Ranges", "none")
	if a.size >= 0 {
		h.Set("Content-Length", strconv.FormatInt(a.size, 10))
	}
}

// sink is where a computed answer goes. The header is sent with the first bytes.
type sink struct {
	w       http.ResponseWriter
	begin   func() // sets the header
	started bool
	gone    error // the client is
}

func (s *sink) start() {
	if !s.started {
		s.started = true
		s.begin()
		s.w.WriteHeader(http.StatusOK)
	}
}

func (s *sink) Write(p []byte) (int, error) {
	s.start()
	n, err := s.w.Write(p)
	if err != nil {
		s.gone = err
	}
	return n, err
}

// precondition lets net/http judge If-Match and If-None-Match: 200, 304 or 412.
func precondition(r *http.Request, etag string) int {
	r = r.Clone(r.Context())
	r.Method = http.MethodHead
	r.Header.Del("Range")
	v := verdict{http.Header{"Etag": {etag}, "Content-Type": {""}}, http.StatusOK}
	http.ServeContent(&v, r, "", time.Time{}, strings.NewReader(""))
	return v.status
}

// verdict is a ResponseWriter that remembers the status.
type verdict struct {
	header http.Header
	status int
}

func (v *verdict) Header() http.Header         { return v.header }
func (v *verdict) WriteHeader(status int)      { v.status = status }
func (v *verdict) Write(p []byte) (int, error) { return 0, fmt.Errorf("only the status is asked for") }
