package handler

import (
	"log/slog"
	"maps"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-backup/caddy-backup/backup"
)

func init() { caddy.RegisterModule(new(Accel)) }

// Accel is the HTTP handler module `backup_accel`. It stands before an application and looks at the application's
// answers: one with the header X-Accel-Redirect or X-Sendfile is replaced by the file that the header names, out of a
// snapshot or from below an allowed folder. Who may have the file is the application's to decide, the bytes are ours to
// send: with ranges, conditional requests and HEAD, of which the application needs to know nothing.
//
// Content-Disposition, Content-Type, Set-Cookie and other headers of the application's answer arrive; those of its body
// do not. Both headers count in answers of success only, and no header whose name begins with X-Accel- or X-Sendfile gets
// through, in either direction.
type Accel struct {
	// Addresses that lead into snapshots: <prefix><job>/<snapshot or "latest">/<path below the job's folder>.
	// "latest" is the job's newest good snapshot.
	Snapshots []AccelSnapshots `json:"snapshots,omitempty"`

	// Addresses that lead to files below a folder: <prefix><path>.
	Files []AccelFiles `json:"files,omitempty"`

	// Folders below which X-Sendfile may name files, by their absolute path.
	SendfileRoots []string `json:"sendfile_roots,omitempty"`

	log     *slog.Logger
	service func() *backup.Service // nil without Snapshots
	now     func() time.Time
}

// AccelSnapshots opens the snapshots of some jobs to a prefix.
type AccelSnapshots struct {
	Prefix string   `json:"prefix"` // begins and ends with a slash
	Jobs   []string `json:"jobs"`   // at least one; "*" alone is every job
}

// AccelFiles opens a folder to a prefix.
type AccelFiles struct {
	Prefix string `json:"prefix"` // begins and ends with a slash
	Root   string `json:"root"`   // absolute path of a folder; nothing outside is reached through symbolic links; may hold placeholders
}

// CaddyModule returns the Caddy module information.
func (*Accel) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.backup_accel", New: func() caddy.Module { return new(Accel) }}
}

// ServeHTTP lets next answer, and answers itself when that names a file. Other answers pass as they are written.
func (a *Accel) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	held := withhold(r.Header)
	answer := &accelWriter{ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
	err := answer.from(next, r)
	maps.Copy(r.Header, held)
	answer.end()
	if err != nil || !answer.matched {
		return err
	}
	return a.serve(w, r, answer.header)
}

var (
	_ caddy.Provisioner           = (*Accel)(nil)
	_ caddyhttp.MiddlewareHandler = (*Accel)(nil)
)
