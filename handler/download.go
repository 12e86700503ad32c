package handler

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-backup/caddy-backup/backup"
)

// download sends the file that the address names.
func (c *call) download(log *slog.Logger) error {
	id, err := c.snapshotID(c.query("repository"), c.query("job"))
	if err != nil {
		return err
	}
	o, err := c.service.Open(c.r.Context(), c.query("repository"), id, c.path())
	if err != nil {
		return err
	}
	content := &watched{file: o}
	defer content.close()
	if strings.HasSuffix(c.path(), "/") {
		return fmt.Errorf("%s is a file, not a folder; ask without the slash at the end: %w", o.Path, backup.ErrNotFound)
	}
	if err := c.tryFirst(content); err != nil {
		return err
	}
	if repl, ok := c.r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok { // for access logs
		repl.Set("http.backup.snapshot", o.Snapshot.ID)
		repl.Set("http.backup.path", o.Path)
	}
	w := &rangeWriter{ResponseWriter: c.w}
	serveFile(w, c.r, o, content)
	if w.refused {
		return fmt.Errorf("%w: %s has %d bytes", errRange, o.Path, o.Content.Size)
	}
	if err := content.failed(); err != nil {
		log.Error("download broken off", "snapshot", o.Snapshot.ID, "path", o.Path, "user", c.caller.Name, "error", err)
		// The body is cut in the middle, and where no Content-Length stands (another handler may have compressed it) a
		// plain return would end it as if it were whole. This breaks the connection instead.
		panic(http.ErrAbortHandler)
	}
	return nil
}

// tryFirst reads the beginning of what will be sent as a whole, so that damage there is still an answer with a status
// and a message. Later on all that is left is to break the connection.
func (c *call) tryFirst(content io.ReadSeeker) error {
	if c.r.Method != http.MethodGet || c.r.Header.Get("Range") != "" {
		return nil
	}
	if _, err := content.Read(make([]byte, 1)); err != nil && err != io.EOF {
		return err
	}
	_, err := content.Seek(0, io.SeekStart)
	return err
}

// rangeWriter withholds the plain text with which net/http refuses a range: the refusal becomes an answer of ours.
type rangeWriter struct {
	http.ResponseWriter
	refused bool
}

func (w *rangeWriter) WriteHeader(status int) {
	if status != http.StatusRequestedRangeNotSatisfiable {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.refused = true
	for _, name := range []string{"Content-Disposition", "Content-Length", "Repr-Digest"} { // they are of the file
		w.Header().Del(name)
	}
}

func (w *rangeWriter) Write(p []byte) (int, error) {
	if w.refused {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// serveFile answers with content under the headers of a download that no browser runs or renders. There is no
// Last-Modified: times of dumps are too coarse to tell contents apart, the strong ETag is not.
func serveFile(w http.ResponseWriter, r *http.Request, o *backup.Opened, content io.ReadSeeker) {
	h := w.Header()
	h.Set("Content-Type", o.Media)
	h.Set("Content-Disposition", attachment(o.Filename))
	h.Set("ETag", o.ETag)
	h.Set("Cache-Control", "private, no-cache, no-transform") // no-transform: Range and Content-Length stay true
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	if digest, err := hex.DecodeString(o.SHA256); err == nil && len(digest) == 32 {
		h.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(digest)+":")
	}
	if strings.Count(r.Header.Get("Range"), ",") >= maxRanges {
		// Each range costs a seek and a MIME part. RFC 9110 section 14.2 lets us send the whole instead.
		r = r.Clone(r.Context())
		r.Header.Del("Range")
	}
	http.ServeContent(w, r, "", time.Time{}, content)
}

// maxRanges is how many ranges one request may ask for.
const maxRanges = 10

// watched is a file that remembers why reading it failed: http.ServeContent keeps that to itself. For several ranges it
// reads in a goroutine that may live a little longer than the request, hence the lock.
type watched struct {
	mu     sync.Mutex
	file   io.ReadSeekCloser
	err    error
	closed bool
}

func (f *watched) Read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return 0, io.ErrClosedPipe
	}
	n, err := f.file.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

func (f *watched) Seek(off int64, whence int) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return 0, io.ErrClosedPipe
	}
	return f.file.Seek(off, whence)
}

func (f *watched) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *watched) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	_ = f.file.Close() // nothing was written
}

// attachment is a Content-Disposition (RFC 6266): a plain file name for everybody, and the exact one in UTF-8 where the
// plain one cannot hold it.
func attachment(name string) string {
	name = strings.ToValidUTF8(strings.ReplaceAll(name, "/", "_"), "\uFFFD")
	plain := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || strings.ContainsRune(`"\%`, r) { // browsers decode % in plain names, each its own way
			return '_'
		}
		return r
	}, name)
	header := fmt.Sprintf(`attachment; filename="%s"`, plain)
	if plain != name {
		header += "; filename*=UTF-8''" + strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
	}
	return header
}
