// Package handler puts the Service on HTTP: the Caddy handler `backup` with its page, its API and its downloads, and
// the client of that API.
package handler

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"sync"

	"github.com/caddy-backup/caddy-backup/backup"
)

// API is the JSON API; one handler, mounted below api/ of the pages and at /backup/ of Caddy's admin endpoint. All its
// routes stand in one table, each with the role that it needs. Errors are answered as {"error": …, "code": …}.
type API struct {
	Service     func() *backup.Service     // per request; nil result = 503
	Caller      func(*http.Request) Caller // per request
	RestoreRoot string                     // folder in which Restore may make folders; empty = nowhere
	UploadLimit int64                      // bytes of a dump file that an admin may upload; 0 = none
	Unlimited   bool                       // the admin endpoint: restore anywhere, also through sources
	Keeper      func() JobKeeper           // per request, where Unlimited: who adds jobs; nil result = 503
	Stopping    <-chan struct{}            // closed when event streams must end; nil = they need not
	Logger      *slog.Logger               // told of answers 500 and above and of broken downloads; default: discard

	once   sync.Once
	router *router
	making making
}

// routes is the table of the API. A role is the smallest that may.
func (a *API) routes() []route {
	const get, post = http.MethodGet, http.MethodPost
	return []route{
		{get, "/jobs", Viewer, a.jobs},
		{post, "/jobs", Root, a.addJob},
		{get, "/jobs/{job}", Viewer, a.job},
		{post, "/jobs/{job}/remove", Root, a.removeJob},
		{get, "/jobs/{job}/added", Root, a.addedJob},
		{post, "/jobs/{job}/run", Operator, a.backup},
		{post, "/jobs/{job}/import", Root, a.importFiles},
		{post, "/jobs/{job}/drill", Admin, a.drill},
		{post, "/jobs/{job}/restore", Root, a.restoreFile},
		{post, "/jobs/{job}/upload", Admin, a.upload},
		{get, "/jobs/{job}/retention", Viewer, a.retention},
		{post, "/jobs/{job}/forget", Admin, a.forget},
		{get, "/runs", Viewer, a.runs},
		{get, "/runs/{id}", Viewer, a.run},
		{get, "/runs/{id}/events", Viewer, a.events},
		{post, "/runs/{id}/cancel", Operator, a.cancel},
		{get, "/snapshots", Viewer, a.snapshots},
		{get, "/snapshots/{id}", Viewer, a.snapshot},
		{get, "/snapshots/{id}/diff", Viewer, a.diff},
		{get, "/snapshots/{id}/ls", Viewer, a.list},
		{get, "/snapshots/{id}/ls/{path...}", Viewer, a.list},
		{get, "/snapshots/{id}/files/{path...}", Operator, a.download},
		{post, "/snapshots/{id}/restore", Admin, a.restore},
		{post, "/snapshots/{id}/keep", Operator, a.keep(true)},
		{post, "/snapshots/{id}/unkeep", Operator, a.keep(false)},
		{post, "/snapshots/{id}/accept", Admin, a.accept},
		{post, "/snapshots/{id}/mail", Admin, a.mail},
		{post, "/snapshots/{id}/link", Operator, a.link},
		{post, "/snapshots/delete", Admin, a.deleteSnapshots},
		{get, "/repositories", Viewer, a.repositories},
		{post, "/repositories/{name}/init", Admin, a.initRepository},
		{post, "/repositories/{name}/check", Admin, a.check},
		{post, "/repositories/{name}/prune", Admin, a.prune},
		{post, "/repositories/{name}/repair", Admin, a.repair},
		{get, "/repositories/{name}/stats", Viewer, a.stats},
		{get, "/repositories/{name}/locks", Viewer, a.locks},
		{post, "/repositories/{name}/unlock", Admin, a.unlock},
		{get, "/repositories/{name}/keys", Root, a.keys},
		{post, "/repositories/{name}/keys", Root, a.addKey},
		{post, "/repositories/{name}/keys/{id}/remove", Root, a.removeKey},
		{post, "/repositories/{name}/passwd", Root, a.changePassword},
		{post, "/repositories/{name}/kit/confirm", Admin, a.confirmKit},
		{get, "/kit", Root, a.kit},
		{get, "/notifiers", Viewer, a.notifiers},
		{post, "/doctor", Admin, a.doctor},
		{get, "/health", Prober, a.health},
	}
}

// ServeHTTP answers a request whose URL path is relative to the mount, with a leading slash: "/jobs".
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.once.Do(func() {
		a.making = make(making, maxMaking)
		a.router = newRouter(&router{caller: a.Caller, service: a.Service, fail: a.fail}, a.routes())
	})
	a.router.ServeHTTP(w, r)
}

func (a *API) log() *slog.Logger {
	if a.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return a.Logger
}

// fail answers with an error.
func (a *API) fail(c *call, err error) {
	e := errorOf(err)
	if e.Status >= http.StatusInternalServerError {
		a.log().Error("request failed", "method", c.r.Method, "path", c.r.URL.Path, "user", c.caller.Name, "error", err)
	}
	c.json(e.Status, e)
}

// answer writes v with status 200, or returns err.
func (c *call) answer(v any, err error) error { return c.answerAs(http.StatusOK, v, err) }

func (c *call) answerAs(status int, v any, err error) error {
	if err == nil {
		c.json(status, v)
	}
	return err
}

// json writes a whole answer. What cannot be encoded is a mistake of ours and becomes a 500, never half an answer.
func (c *call) json(status int, v any) {
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(v); err != nil {
		status = http.StatusInternalServerError
		b.Reset()
		b.WriteString(`{"error":"the answer cannot be encoded","code":"internal"}`)
	}
	h := c.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	c.w.WriteHeader(status)
	_, _ = c.w.Write(b.Bytes()) // a client that is gone hears nothing
}
