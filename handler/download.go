package handler

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"

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
	content := offerOf(o)
	defer content.close()
	if strings.HasSuffix(c.path(), "/") {
		return fmt.Errorf("%s is a file, not a folder; ask without the slash at the end: %w", o.Path, backup.ErrNotFound)
	}
	noteDownload(c.r, o.Snapshot.ID, o.Path)
	c.asDownload()
	return content.serve(c.w, c.r, func(err error) {
		log.Error("download broken off", "snapshot", o.Snapshot.ID, "path", o.Path, "user", c.caller.Name, "error", err)
	})
}

// noteDownload tells access logs what of which snapshot is asked for.
func noteDownload(r *http.Request, snapshot, path string) {
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Set("http.backup.snapshot", snapshot)
		repl.Set("http.backup.path", path)
	}
}

// asDownload has browsers neither run nor render what is answered.
func (c *call) asDownload() {
	h := c.w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
}
