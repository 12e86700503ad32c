package handler

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

//go:embed static templates
var files embed.FS

// assets are the static files and what is known of them. They never change while the program runs.
var assets = loadAssets()

type assetSet struct {
	version   string       // changes with any of the files
	style     template.CSS // the style sheet
	styleHash string       // for the policy of pages that hold it
}

func loadAssets() assetSet {
	sum := sha256.New()
	entries, _ := files.ReadDir("static") // embedded: cannot fail
	for _, e := range entries {
		data, _ := files.ReadFile("static/" + e.Name())
		sum.Write(data)
	}
	style, _ := files.ReadFile("static/app.css")
	hash := sha256.Sum256(style)
	return assetSet{
		version:   hex.EncodeToString(sum.Sum(nil)[:6]),
		style:     template.CSS(style),
		styleHash: "'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'",
	}
}

var mediaTypes = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}

// static serves the style sheet and the script. Pages name them with their version, so they may be kept for ever.
func (p *pages) static(c *call) error {
	name := c.r.PathValue("file")
	media, known := mediaTypes[path.Ext(name)]
	data, err := files.ReadFile("static/" + name)
	if err != nil || !known {
		return fmt.Errorf("no such file: %q: %w", name, backup.ErrNotFound)
	}
	h := c.w.Header()
	h.Set("Content-Type", media)
	h.Set("Cache-Control", "private, max-age=31536000, immutable")
	h.Set("ETag", `"`+assets.version+`"`)
	secure(h)
	http.ServeContent(c.w, c.r, "", time.Time{}, bytes.NewReader(data))
	return nil
}

// templates are the pages by file name, each with the layout and the pieces that pages share.
var templates = loadTemplates()

func loadTemplates() map[string]*template.Template {
	common := template.Must(template.New("").Funcs(funcs).ParseFS(files, "templates/layout.html", "templates/pieces.html", "templates/over.html", "templates/drill.html"))
	set := make(map[string]*template.Template)
	for _, name := range []string{"overview.html", "job.html", "run.html", "snapshot.html", "mailed.html", "linked.html", "restore.html", "upload.html", "folder.html", "retention.html", "error.html"} {
		set[name] = template.Must(template.Must(common.Clone()).ParseFS(files, "templates/"+name))
	}
	return set
}
