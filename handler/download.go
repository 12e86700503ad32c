package handler

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
)

// asDownload has browsers neither run nor render what is answered, and tells access logs what of which snapshot it is.
func (c *call) asDownload(snapshot, path string) {
	h := c.w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	noteDownload(c.r, snapshot, path)
}

// noteDownload tells access logs what of which snapshot is asked for.
func noteDownload(r *http.Request, snapshot, path string) {
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Set("http.backup.snapshot", snapshot)
		repl.Set("http.backup.path", path)
	}
}
