package handler

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/caddy-backup/caddy-backup/archive"
	"github.com/caddy-backup/caddy-backup/backup"
)

// signedLinks serves signed links, to whoever has one. What it refuses it answers in a plain sentence that tells nothing of what
// there is.
type signedLinks struct {
	log    *slog.Logger
	making making
}

func newSignedLinks(service func() *backup.Service, log *slog.Logger) *router {
	l := &signedLinks{log: log, making: make(making, maxMaking)}
	// The role is Nobody's: the signature authorises, and no user is asked for.
	nobody := func(*http.Request) Caller { return Caller{Name: "signed link", Role: Nobody, ReadOnly: true} }
	return newRouter(&router{caller: nobody, service: service, fail: l.fail}, l.routes())
}

func (l *signedLinks) routes() []route {
	return []route{{http.MethodGet, "/links/{id}/{path...}", Nobody, l.get}}
}

func (l *signedLinks) get(c *call) error {
	link, signature, err := parseLink(c)
	if err != nil {
		return err
	}
	if err := c.service.VerifyLink(c.r.Context(), link, signature); err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("Cache-Control", "no-store, no-transform") // no-transform: Range and Content-Length stay true
	h.Set("Referrer-Policy", "no-referrer")
	return c.download(l.log, l.making)
}

// linkQuery are the parameters of a link. It has each once and no other: every one that a download looks at must be bound
// by the signature.
var linkQuery = map[string]bool{"format": true, "expires": true, "sig": true, "repository": false} // whether it must be there

// parseLink reads the link that a request is for. ErrBadLink.
func parseLink(c *call) (l backup.Link, signature string, err error) {
	q, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return l, "", backup.ErrBadLink
	}
	for name, values := range q {
		if _, known := linkQuery[name]; !known || len(values) != 1 || values[0] == "" {
			return l, "", backup.ErrBadLink
		}
	}
	for name, needed := range linkQuery {
		if needed && !q.Has(name) {
			return l, "", backup.ErrBadLink
		}
	}
	expires, err := strconv.ParseInt(q.Get("expires"), 10, 64)
	if err != nil || strconv.FormatInt(expires, 10) != q.Get("expires") {
		return l, "", backup.ErrBadLink
	}
	l = backup.Link{Repository: q.Get("repository"), Snapshot: c.id(), Path: c.path(), Format: q.Get("format"), Expires: time.Unix(expires, 0)}
	if !q.Has("repository") {
		l.Repository = backup.DefaultRepository
	}
	return l, q.Get("sig"), nil
}

// fail answers with a plain sentence.
func (l *signedLinks) fail(c *call, err error) {
	status, text := http.StatusForbidden, ""
	switch e := errorOf(err); {
	case errors.Is(err, backup.ErrBadLink), errors.Is(err, ErrForbidden):
		text = "This link is not valid. Is it whole?"
	case errors.Is(err, backup.ErrExpiredLink):
		text = "This link has expired. Ask for a new one."
	case e.Status == http.StatusNotFound:
		status, text = e.Status, "What this link leads to is not there any more."
	case e.Status == http.StatusMethodNotAllowed, e.Status == http.StatusRequestedRangeNotSatisfiable:
		status, text = e.Status, http.StatusText(e.Status)
	default:
		status, text = e.Status, "This cannot be downloaded now. Try again later."
		l.log.Error("a signed link cannot be served", "path", c.r.URL.Path, "error", err)
	}
	h := c.w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	secure(h)
	h.Set("Referrer-Policy", "no-referrer")
	c.w.WriteHeader(status)
	fmt.Fprintln(c.w, text)
}

// link makes a signed link to a file or folder of a snapshot.
func (a *API) link(c *call) error {
	var q backup.LinkRequest
	if err := c.decode(&q); err != nil {
		return err
	}
	q.Repository, q.Job = cmp.Or(q.Repository, c.query("repository")), cmp.Or(q.Job, c.query("job"))
	id, err := c.snapshotID(q.Repository, q.Job)
	if err != nil {
		return err
	}
	format, err := archive.Parse(q.Format)
	if err != nil {
		return err
	}
	q.Snapshot, q.Format = id, string(format)
	made, err := c.service.MakeLink(c.r.Context(), c.by(), q)
	return c.answerAs(http.StatusCreated, made, err)
}
