// Package handler puts the Service on HTTP: the Caddy handler `backup` with its page, its API and its downloads, and
// the client of that API.
package handler

import (
	"net/http"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Role is what a person may do; each includes the ones before it.
type Role int

// Viewers list; operators also run, cancel and download; admins also restore, check and create repositories.
const (
	Nobody Role = iota
	Viewer
	Operator
	Admin
)

// Caller is who asks, as the front has found out.
type Caller struct {
	Name string
	Role Role
}

// API is the JSON API; one handler, mounted below api/ of the pages and at /backup/ of Caddy's admin endpoint. All its
// routes stand in one table, each with the role that it needs.
type API struct {
	Service     func() *backup.Service     // per request; nil result = 503
	Caller      func(*http.Request) Caller // per request
	RestoreRoot string                     // folder below which Restore may write; empty = nowhere
	Unlimited   bool                       // the admin endpoint: restore anywhere, also through sources
}

// ServeHTTP answers a request whose URL path is relative to the mount, with a leading slash: "/jobs".
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { panic("to come") }
