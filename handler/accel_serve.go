package handler

import (
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-backup/caddy-backup/backup"
)

// ofBody are the headers that tell of the body that the application wrote, or of the connection to it: what is sent
// instead has its own.
var ofBody = []string{
	"Accept-Ranges", "Content-Digest", "Content-Encoding", "Content-Length", "Content-Md5", "Content-Range", "Digest", "ETag",
	"Last-Modified", "Repr-Digest", "Status", "Trailer", "Transfer-Encoding",
}

// serve answers with the file that an answer with these headers names. What the client is not to know stands in the log.
func (a *Accel) serve(w http.ResponseWriter, r *http.Request, header http.Header) error {
	t, err := a.target(header)
	prepareHeader(w.Header(), header)
	if err == nil {
		err = a.send(w, r, t)
	}
	if err == nil {
		return nil
	}
	status := accelStatus(err)
	a.logRefused(r, status, err)
	for _, name := range []string{"Content-Type", "Content-Disposition"} { // they are of the file
		w.Header().Del(name)
	}
	w.Header().Set("Cache-Control", "no-store")
	return caddyhttp.Error(status, errAccel)
}

// logRefused says why a file is not sent, unless it is the client's own doing.
func (a *Accel) logRefused(r *http.Request, status int, err error) {
	if r.Context().Err() != nil || status == http.StatusRequestedRangeNotSatisfiable {
		return
	}
	level := slog.LevelWarn
	if status >= 500 {
		level = slog.LevelError
	}
	// Without the query: it may hold what is nobody's to read, and logs of accesses have filters for it.
	a.log.Log(r.Context(), level, "the application named a file that cannot be sent", "request", r.URL.Path, "status", status, "error", err)
}

// errAccel is all that clients are told: error pages may show its text.
var errAccel = errors.New("the file cannot be sent")

// prepareHeader makes the headers those of the answer that was held back, but for what is not for the client and what
// told of its body. The file must not be changed on its way: Range and Content-Length would not hold.
func prepareHeader(h, answered http.Header) {
	clear(h)
	maps.Copy(h, answered)
	stripAccel(h)
	for _, name := range ofBody {
		h.Del(name)
	}
	if cache := strings.Join(h.Values("Cache-Control"), ", "); cache != "" && !strings.Contains(cache, "no-transform") {
		h.Set("Cache-Control", cache+", no-transform")
	}
}

func (a *Accel) send(w http.ResponseWriter, r *http.Request, t target) error {
	content, err := a.open(w, r, t)
	if err != nil {
		return err
	}
	defer content.close()
	return content.serve(w, r, func(err error) {
		a.log.Error("download broken off", "request", r.URL.Path, "path", t.path, "error", err)
	})
}

func (a *Accel) open(w http.ResponseWriter, r *http.Request, t target) (*offer, error) {
	if t.job == "" {
		return openPlain(t.root, t.path, a.now())
	}
	service := a.service()
	if service == nil {
		return nil, backup.ErrClosed
	}
	o, err := service.OpenOf(r.Context(), t.job, t.snapshot, t.path)
	if err != nil {
		return nil, err
	}
	noteDownload(r, o.Snapshot.ID, o.Path)
	setDefault(w.Header(), "X-Content-Type-Options", "nosniff")
	setDefault(w.Header(), "Content-Security-Policy", "default-src 'none'; sandbox")
	return offerOf(o), nil
}

// accelStatus is the status for a file that cannot be sent. What was asked for in a wrong way is not there: it is the
// application that asked, and the client can do nothing about it.
func accelStatus(err error) int {
	status := faultOf(err).status
	if status < 500 && status != http.StatusRequestedRangeNotSatisfiable {
		return http.StatusNotFound
	}
	return status
}
