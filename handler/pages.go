package handler

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// pages are what people see: HTML that works without scripts, and better with the one that it brings along.
type pages struct {
	log   *slog.Logger
	now   func() time.Time
	parts partsCache
	api   *API // whose bounds of restores are ours

	making making
}

// storageTimeout is how long a page waits for a storage before it shows what it has and says so.
const storageTimeout = 15 * time.Second

func newPages(api *API) *router {
	p := &pages{log: api.log(), now: time.Now, making: make(making, maxMaking), api: api}
	return newRouter(&router{caller: api.Caller, service: api.Service, fail: p.fail}, p.routes())
}

// routes is the table of the pages. A role is the smallest that may.
func (p *pages) routes() []route {
	const get, post = http.MethodGet, http.MethodPost
	return []route{
		{get, "/{$}", Viewer, p.overview},
		{get, "/jobs/{job}", Viewer, p.job},
		{post, "/jobs/{job}/run", Operator, p.backup},
		{get, "/jobs/{job}/retention", Viewer, p.retentionPage},
		{post, "/jobs/{job}/forget", Admin, p.forget},
		{post, "/jobs/{job}/drill", Admin, p.drill},
		{get, "/jobs/{job}/upload", Admin, p.uploadForm},
		{post, "/jobs/{job}/upload", Admin, p.uploadLook},
		{get, "/runs/{id}", Viewer, p.run},
		{post, "/runs/{id}/cancel", Operator, p.cancel},
		{post, "/runs/{id}/look", Admin, p.lookAgain},
		{post, "/runs/{id}/restore", Admin, p.restoreOver},
		{post, "/runs/{id}/undo", Admin, p.undo},
		{post, "/runs/{id}/upload", Admin, p.upload},
		{get, "/snapshots/{id}", Viewer, p.snapshot},
		{get, "/snapshots/{id}/restore", Admin, p.restoreForm},
		{post, "/snapshots/{id}/restore", Admin, p.restore},
		{post, "/snapshots/{id}/link", Operator, p.link},
		{post, "/snapshots/{id}/keep", Operator, p.keep(true)},
		{post, "/snapshots/{id}/unkeep", Operator, p.keep(false)},
		{post, "/snapshots/{id}/accept", Admin, p.accept},
		{post, "/snapshots/{id}/mail", Admin, p.mail},
		{get, "/snapshots/{id}/ls/{path...}", Viewer, p.folder},
		{get, "/snapshots/{id}/files/{path...}", Operator, p.download},
		{post, "/repositories/{name}/kit", Admin, p.confirmKit},
		{get, "/static/{file}", Viewer, p.static},
	}
}

// Frame is what every page has around its content.
type Frame struct {
	Title     string
	Root      string // relative address of the mount point from this page: "./", "../../"
	Version   string // of the static files
	Caller    Caller
	Known     bool // the caller may see pages at all
	MayRun    bool // and cancel
	MayLoad   bool // download
	MayManage bool // what only admins may
	Refresh   bool // something is going on: without scripts the page loads itself again
	Styles    any  // the style sheet itself, on pages for people who may not fetch it
	Content   any
}

// piece is what a template that pages share is given: the frame, and the thing that it shows.
type piece struct {
	Frame
	It any
}

// page writes a page with content.
func (p *pages) page(c *call, name, title string, refresh bool, content any) error {
	return p.render(c, http.StatusOK, name, Frame{Title: title, Refresh: refresh, Content: content})
}

func (p *pages) render(c *call, status int, name string, f Frame) error {
	f.Root, f.Version, f.Caller = root(c.r), assets.version, c.caller
	f.Known, f.MayRun, f.MayLoad = c.caller.Role >= Viewer, c.caller.May(Operator), c.caller.Role >= Operator
	f.MayManage = c.caller.May(Admin)
	var b bytes.Buffer
	if err := templates[name].ExecuteTemplate(&b, "layout.html", f); err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	secure(h)
	c.w.WriteHeader(status)
	_, _ = c.w.Write(b.Bytes()) // a client that is gone sees nothing
	return nil
}

// policy lets a page use what it brings along and nothing else. The hash is of the style sheet inside of error pages.
var policy = "default-src 'none'; style-src 'self' " + assets.styleHash + "; script-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// secure sets the headers that keep a browser from doing anything else with an answer. The referrer is kept within the
// site rather than away altogether: with no-referrer browsers send "Origin: null" with forms, and where a page is not
// served over TLS that is all there is to tell our own forms from those of another site.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// root is the way back to the mount point. Only relative addresses work everywhere: a prefix may have been stripped.
func root(r *http.Request) string {
	if up := strings.Count(r.URL.EscapedPath(), "/") - 1; up > 0 {
		return strings.Repeat("../", up)
	}
	return "./"
}

// redirect sends the browser on by GET, to a page given from the mount point.
func redirect(c *call, page string) error {
	c.w.Header().Set("Location", root(c.r)+page)
	c.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// fail shows an error. It brings its styles inside, because strangers may fetch nothing.
func (p *pages) fail(c *call, err error) {
	e := errorOf(err)
	if e.Status >= http.StatusInternalServerError {
		p.log.Error("page failed", "method", c.r.Method, "path", c.r.URL.Path, "user", c.caller.Name, "error", err)
	}
	f := Frame{Title: http.StatusText(e.Status), Styles: assets.style, Content: e}
	if err := p.render(c, e.Status, "error.html", f); err != nil {
		http.Error(c.w, "the page cannot be shown", http.StatusInternalServerError)
	}
}

// patient bounds how long a page waits for storages.
func patient(c *call) (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.r.Context(), storageTimeout)
}
