package handler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// InProcess is a transport that calls an http.Handler directly, streaming the answer. A handler that panics, as aborted
// downloads do, or that writes less than the Content-Length it promised, gives the reader an error, never a clean end.
func InProcess(h http.Handler) http.RoundTripper { return inProcess{h} }

type inProcess struct{ handler http.Handler }

func (t inProcess) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	r := req.Clone(ctx)
	r.RequestURI, r.Host = req.URL.RequestURI(), req.URL.Host
	if r.Body == nil {
		r.Body = http.NoBody
	}
	reader, writer := io.Pipe()
	w := &pipeWriter{header: make(http.Header), body: writer, started: make(chan struct{})}
	go t.serve(w, r)
	select {
	case <-w.started:
	case <-ctx.Done():
		cancel()
		_ = reader.CloseWithError(context.Cause(ctx))
		return nil, context.Cause(ctx)
	}
	resp := w.response(req)
	resp.Body = &pipeBody{reader, cancel}
	if w.early != nil {
		cancel()
		return nil, w.early
	}
	return resp, nil
}

// serve runs the handler and ends the answer the way the handler ended.
func (t inProcess) serve(w *pipeWriter, r *http.Request) {
	defer r.Body.Close()
	defer func() {
		var err error
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			err = http.ErrAbortHandler
		default:
			err = fmt.Errorf("handler panicked: %v", p)
		}
		w.end(err, r.Method == http.MethodHead)
	}()
	t.handler.ServeHTTP(w, r)
}

// pipeWriter is the http.ResponseWriter whose body goes into a pipe.
type pipeWriter struct {
	header  http.Header
	body    *io.PipeWriter
	once    sync.Once
	started chan struct{} // closed when status and header are settled
	status  int
	sent    http.Header // as it was then
	written int64
	early   error // the handler failed before it answered
}

func (w *pipeWriter) Header() http.Header { return w.header }

func (w *pipeWriter) WriteHeader(status int) {
	if status < 200 {
		return // informational
	}
	w.once.Do(func() {
		w.status, w.sent = status, w.header.Clone()
		close(w.started)
	})
}

func (w *pipeWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	n, err := w.body.Write(p)
	w.written += int64(n)
	return n, err
}

// Flush is all that streaming handlers ask for; nothing is buffered here.
func (w *pipeWriter) Flush() { w.WriteHeader(http.StatusOK) }

func (w *pipeWriter) end(err error, head bool) {
	if err != nil {
		w.once.Do(func() {
			w.early = err
			close(w.started)
		})
		_ = w.body.CloseWithError(err)
		return
	}
	w.WriteHeader(http.StatusOK)
	if n := contentLength(w.sent); n > w.written && !head && w.status != http.StatusNotModified {
		err = io.ErrUnexpectedEOF
	}
	_ = w.body.CloseWithError(err)
}

func (w *pipeWriter) response(req *http.Request) *http.Response {
	return &http.Response{
		Status: fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)), StatusCode: w.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, ContentLength: contentLength(w.sent), Request: req,
	}
}

// contentLength is the promised length of the body in bytes, -1 when none is.
func contentLength(h http.Header) int64 {
	var n int64
	if _, err := fmt.Sscan(h.Get("Content-Length"), &n); err != nil || n < 0 {
		return -1
	}
	return n
}

// pipeBody is the reader's end; closing it tells the handler that the client is gone.
type pipeBody struct {
	*io.PipeReader
	cancel context.CancelFunc
}

var errBodyClosed = errors.New("response body was closed")

func (b *pipeBody) Close() error {
	b.cancel()
	return b.CloseWithError(errBodyClosed)
}
