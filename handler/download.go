package handler

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-backup/caddy-backup/archive"
	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/repo"
)

// download sends the file or folder that the address names, in the format that the query says.
func (c *call) download(log *slog.Logger, making making) error {
	format, err := archive.Parse(c.query("format"))
	if err != nil {
		return err
	}
	id, err := c.snapshotID(c.repository(), c.query("job"))
	if err != nil {
		return err
	}
	if format.ForFolder() {
		return c.downloadFolder(log, making, id, format)
	}
	return c.downloadFile(log, making, id, format)
}

func (c *call) downloadFile(log *slog.Logger, making making, id string, format archive.Format) error {
	o, err := c.service.Open(c.r.Context(), c.repository(), id, c.path())
	if errors.Is(err, repo.ErrIsFolder) {
		return fmt.Errorf("%w; a folder is downloaded as one of: format=%s", err, archive.Names(archive.OfFolders))
	}
	if err != nil {
		return err
	}
	defer o.Close()
	if strings.HasSuffix(c.path(), "/") {
		return fmt.Errorf("%s is a file, not a folder; ask without the slash at the end: %w", o.Path, backup.ErrNotFound)
	}
	c.asDownload(o.Snapshot.ID, o.Path)
	failed := c.brokenOff(log, o.Snapshot.ID, o.Path)
	if format == archive.Raw {
		content := offerOf(o)
		defer content.close()
		return content.serve(c.w, c.r, failed)
	}
	a := &computed{
		header: downloadHeader(format.Media(), o.Filename+"."+string(format)), etag: etagOf(o.Version, string(format)), size: -1,
		write: func(w io.Writer) error { return archive.WriteFile(w, format, o) },
	}
	if format == archive.Zstd { // that is how it is stored
		if frames, ok := o.Frames(c.r.Context()); ok {
			defer frames.Close()
			a.take(frames)
			return a.serve(c.w, c.r, failed)
		}
	}
	leave, err := making.enter()
	if err != nil {
		return err
	}
	defer leave()
	return a.serve(c.w, c.r, failed)
}

func (c *call) downloadFolder(log *slog.Logger, making making, id string, format archive.Format) error {
	f, err := c.service.OpenFolder(c.r.Context(), c.repository(), id, c.path())
	if errors.Is(err, repo.ErrNotFolder) {
		return fmt.Errorf("%w; a file is downloaded as one of: format=%s", err, archive.Names(archive.OfFiles))
	}
	if err != nil {
		return err
	}
	leave, err := making.enter()
	if err != nil {
		return err
	}
	defer leave()
	// What makes an archive impossible is told before it begins, while there is an answer to tell it with.
	if err := archive.Check(c.r.Context(), format, f.Self, f); err != nil {
		return err
	}
	c.asDownload(f.Snapshot.ID, f.Path)
	a := &computed{
		header: downloadHeader(format.Media(), f.Filename+"."+string(format)), etag: etagOf(f.Version, string(format)), size: -1,
		write: func(w io.Writer) error { return archive.WriteFolder(c.r.Context(), w, format, f.Self, f) },
	}
	return a.serve(c.w, c.r, c.brokenOff(log, f.Snapshot.ID, f.Path))
}

// brokenOff tells the log of a download that could not be finished.
func (c *call) brokenOff(log *slog.Logger, snapshot, path string) func(error) {
	return func(err error) {
		log.Error("download broken off", "snapshot", snapshot, "path", path, "user", c.caller.Name, "error", err)
	}
}

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
