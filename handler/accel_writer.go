package handler

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// The headers with which an application hands a file over to the server before it.
const (
	redirectHeader = "X-Accel-Redirect"
	sendfileHeader = "X-Sendfile"
)

// accelWriter is what the application writes to. It decides at the first final status: an answer that names a file is
// held back, all of it; any other passes through at once, unbuffered, without the headers that are between an application
// and its server.
type accelWriter struct {
	caddyhttp.ResponseWriterWrapper
	decided bool
	matched bool
	header  http.Header // of a matched answer, as it would have been sent
	unread  int64       // how much of a matched answer's body was discarded
	enough  bool        // no more of it is taken
}

// maxUnread is how much of the body beside a file's name is discarded before the application is told to stop. Most send
// none; one that sends the file itself as well, or an endless stream, would keep the client waiting for the end of it.
const maxUnread = 1 << 20

var errEnough = errors.New("a file is sent in place of this answer")

// discard counts what was discarded of a matched answer.
func (w *accelWriter) discard(n int64) error {
	if w.unread += n; w.unread > maxUnread {
		w.enough = true
		return errEnough
	}
	return nil
}

// from lets next answer. Where it was told that enough was written, an error, or the panic with which reverse_proxy ends
// a copy that failed, is what was asked for.
func (w *accelWriter) from(next caddyhttp.Handler, r *http.Request) (err error) {
	defer func() {
		if !w.enough {
			return
		}
		err = nil
		if p := recover(); p != nil && p != http.ErrAbortHandler {
			panic(p)
		}
	}()
	return next.ServeHTTP(w, r)
}

// WriteHeader passes informational answers on and decides about the first final one. 101 is final: what follows is no
// HTTP any more.
func (w *accelWriter) WriteHeader(status int) {
	final := status >= 200 || status == http.StatusSwitchingProtocols
	if final {
		w.decide(status)
	} else {
		stripAccel(w.Header())
	}
	if !w.matched {
		w.ResponseWriter.WriteHeader(status)
	}
}

// decide looks at the answer, once. A file is sent only for a success; 304 is one as well, the application found that
// the client has what it would send. Of other answers the headers are taken away: a failure or a redirect says that the
// client is not to have the file, whatever else it says.
func (w *accelWriter) decide(status int) {
	if w.decided {
		return
	}
	w.decided = true
	success := status >= 200 && status < 300 || status == http.StatusNotModified
	if success && namesFile(w.Header()) {
		w.matched, w.header = true, w.Header().Clone()
		return
	}
	stripAccel(w.Header())
}

// end decides about an answer that was never begun, which is an empty 200, and takes away what came after the decision:
// trailers are written from the same map.
func (w *accelWriter) end() {
	w.decide(http.StatusOK)
	stripAccel(w.Header())
}

// begin is what net/http does before the first byte when there was no status.
func (w *accelWriter) begin() {
	if !w.decided {
		w.WriteHeader(http.StatusOK)
	}
}

// Write discards the body of a matched answer.
func (w *accelWriter) Write(p []byte) (int, error) {
	w.begin()
	if w.matched {
		return len(p), w.discard(int64(len(p)))
	}
	return w.ResponseWriter.Write(p)
}

// ReadFrom keeps the way open on which net/http lets the kernel copy.
func (w *accelWriter) ReadFrom(r io.Reader) (int64, error) {
	w.begin()
	if w.matched {
		n, _ := io.Copy(io.Discard, io.LimitReader(r, maxUnread+1))
		return n, w.discard(n)
	}
	return w.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError is what http.ResponseController looks for.
func (w *accelWriter) FlushError() error {
	w.begin()
	if w.matched {
		return nil
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Flush implements http.Flusher.
func (w *accelWriter) Flush() { _ = w.FlushError() }

// Hijack implements http.Hijacker: who takes the connection over answers by himself.
func (w *accelWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.decided, w.matched = true, false
	}
	return conn, rw, err
}

// isAccel reports whether a header is one between an application and its server, in any spelling: an application behind
// CGI or WSGI cannot tell an underscore from a hyphen.
func isAccel(name string) bool { return begins(name, "x-accel-") || begins(name, "x-sendfile") }

// begins looks at every header of a site's traffic: it makes no copies.
func begins(name, prefix string) bool {
	if len(name) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		c := name[i]
		switch {
		case c == '_':
			c = '-'
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		}
		if c != prefix[i] {
			return false
		}
	}
	return true
}

// namesFile reports whether an answer hands a file over.
func namesFile(h http.Header) bool { return len(h[redirectHeader])+len(h[sendfileHeader]) > 0 }

// stripAccel takes those headers away, as trailers and from the announcement of trailers too.
func stripAccel(h http.Header) {
	for name, values := range h {
		switch {
		case isAccel(strings.TrimPrefix(name, http.TrailerPrefix)):
			delete(h, name)
		case name == "Trailer":
			h[name] = slices.DeleteFunc(trailerNames(values), isAccel)
		}
	}
}

// trailerNames splits the lists of a Trailer header.
func trailerNames(lists []string) []string {
	names := strings.Split(strings.Join(lists, ","), ",")
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	return names
}

var (
	_ http.Flusher  = (*accelWriter)(nil)
	_ http.Hijacker = (*accelWriter)(nil)
	_ io.ReaderFrom = (*accelWriter)(nil)
)
