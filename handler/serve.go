package handler

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/encode"

	"github.com/caddy-backup/caddy-backup/archive"
	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/repo"
)

// offer is something stored with which a request may be answered. The conditions of the request (ranges, If-Match and
// the like) are judged against it. Content is read by one request only; close it.
type offer struct {
	content  *watched
	media    string    // MIME type
	filename string    // for people who save it; "" = no Content-Disposition
	etag     string    // strong, quoted; see etagOf
	sha256   string    // of the whole content in hex, where it is known
	modified time.Time // zero = no Last-Modified

	// The content as zstd frames, which clients that ask for zstd get as they are stored; nil where there are none. They
	// have an ETag of their own.
	frames     func(context.Context) (*repo.File, bool)
	framesETag string
}

// etagPrefix marks the entity tags of stored content, so that they can be told from those of an upstream.
const etagPrefix = "cb-"

// etagOf is the entity tag of a version of stored content, in a form: "" is the content itself.
func etagOf(version, form string) string {
	if form != "" {
		version += "." + form
	}
	return `"` + etagPrefix + version + `"`
}

// offerOf makes an offer of an opened file, which is closed with it.
func offerOf(o *backup.Opened) *offer {
	return &offer{
		content: &watched{file: o}, media: o.Media, filename: o.Filename, etag: etagOf(o.Version, ""), sha256: o.SHA256,
		frames: o.Frames, framesETag: etagOf(o.Version, string(archive.Zstd)),
	}
}

func (o *offer) close() { o.content.close() }

// serve answers the request with the content. Headers that are set already stay: Content-Type, Content-Disposition and
// Cache-Control; all that tells of the content is the offer's. Dumps have no Last-Modified: their times are too
// coarse to tell contents apart, the strong ETag is not. Other methods than GET and HEAD get the whole.
//
// An error means that nothing is sent yet. When the content fails in mid-body, failed is told why and the connection is
// broken: a plain return would end a body without Content-Length (another handler may have compressed it) as if it were
// whole.
func (o *offer) serve(w http.ResponseWriter, r *http.Request, failed func(error)) error {
	r = conditional(r)
	if o.frames != nil {
		w.Header().Add("Vary", "Accept-Encoding")
		if wantsZstd(r) {
			if frames, ok := o.frames(r.Context()); ok {
				defer frames.Close()
				return o.passThrough(frames).serve(w, r, failed)
			}
		}
	}
	if err := tryFirst(r, o.content); err != nil {
		return err
	}
	o.describe(w.Header())
	rw := &rangeWriter{ResponseWriter: w, want: o.content.want}
	http.ServeContent(rw, r, "", o.modified, o.content)
	if rw.refused {
		size, _ := o.content.Seek(0, io.SeekEnd)
		return fmt.Errorf("%w: the file has %d bytes", errRange, size)
	}
	if err := o.content.failed(); err != nil {
		failed(err)
		panic(http.ErrAbortHandler)
	}
	return nil
}

// describe sets the headers that tell of the content.
func (o *offer) describe(h http.Header) {
	for name, values := range downloadHeader(o.media, o.filename) {
		setDefault(h, name, values[0])
	}
	h.Set("ETag", o.etag)
	if digest, err := hex.DecodeString(o.sha256); err == nil && len(digest) == 32 {
		h.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(digest)+":")
	}
}

// downloadHeader is what a download says of itself unless somebody has said it before.
func downloadHeader(media, filename string) http.Header {
	h := http.Header{
		"Content-Type":  {media},
		"Cache-Control": {"private, no-cache, no-transform"}, // no-transform: Range and Content-Length stay true
	}
	if filename != "" {
		h.Set("Content-Disposition", attachment(filename))
	}
	return h
}

// wantsZstd reports whether the request is for the whole, and the client takes zstd at least as gladly as plain bytes.
func wantsZstd(r *http.Request) bool {
	if r.Header.Get("Range") != "" {
		return false
	}
	accepted := encode.AcceptedEncodings(r, []string{"zstd", "identity"})
	zstd, identity := slices.Index(accepted, "zstd"), slices.Index(accepted, "identity")
	return zstd >= 0 && (identity < 0 || zstd < identity)
}

// passThrough answers with the stored frames. There is no Repr-Digest: it would be of the encoded bytes (RFC 9530), of
// which nobody knows one.
func (o *offer) passThrough(frames *repo.File) *computed {
	a := &computed{header: downloadHeader(o.media, o.filename), etag: o.framesETag}
	a.header.Set("Content-Encoding", "zstd")
	a.take(frames)
	return a
}

func setDefault(h http.Header, name, value string) {
	if h.Get(name) == "" {
		h.Set(name, value)
	}
}

// maxRanges is how many ranges one request may ask for.
const maxRanges = 10

// conditional is the request with those conditions only that count for it. Each range costs a seek and a MIME part, and
// RFC 9110 section 14.2 lets us send the whole instead, which it demands for units that nobody knows; for methods other
// than GET and HEAD, ranges and conditions on cached answers mean nothing.
func conditional(r *http.Request) *http.Request {
	get := r.Method == http.MethodGet || r.Method == http.MethodHead
	wanted := r.Header.Get("Range")
	known := wanted == "" || strings.HasPrefix(wanted, "bytes=")
	if get && known && strings.Count(wanted, ",") < maxRanges {
		return r
	}
	r = r.Clone(r.Context())
	r.Header.Del("Range")
	if !get {
		r.Method = http.MethodGet
		for _, name := range []string{"If-Match", "If-None-Match", "If-Range", "If-Modified-Since", "If-Unmodified-Since"} {
			r.Header.Del(name)
		}
	}
	return r
}

// tryFirst reads the beginning of what will be sent as a whole, so that damage there is still an answer with a status
// and a message. Later on all that is left is to break the connection.
func tryFirst(r *http.Request, content io.ReadSeeker) error {
	if r.Method != http.MethodGet || r.Header.Get("Range") != "" {
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
	want    func(end int64) // told what will be read, before it is
	refused bool
}

func (w *rangeWriter) WriteHeader(status int) {
	if status != http.StatusRequestedRangeNotSatisfiable {
		if status == http.StatusPartialContent {
			w.want(rangeEnd(w.Header()))
		}
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.refused = true
	for _, name := range []string{"Content-Disposition", "Content-Length", "Repr-Digest"} { // they are of the file
		w.Header().Del(name)
	}
}

// rangeEnd is the offset behind the range that is being answered; 0 when there are several, which are read one by one.
func rangeEnd(h http.Header) int64 {
	var first, last int64
	if _, err := fmt.Sscanf(h.Get("Content-Range"), "bytes %d-%d/", &first, &last); err != nil {
		return 0
	}
	return last + 1
}

func (w *rangeWriter) Write(p []byte) (int, error) {
	if w.refused {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

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

// want tells a file that can make use of it that nothing will be read from an offset on.
func (f *watched) want(end int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if file, ok := f.file.(interface{ Want(end int64) }); ok {
		file.Want(end)
	}
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
