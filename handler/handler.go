package handler

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/internal/setting"
)

func init() { caddy.RegisterModule(new(Handler)) }

// Handler is the HTTP handler module `backup`: the pages at the mount point, the API below api/, signed links below links/, and health. It answers
// every request that reaches it, so it stands on a site of its own or in a handle_path block.
//
// With role lists, whoever is on none of them is refused; without any, every authenticated user is a viewer. A request
// without an authenticated user is refused, unless insecure_no_auth makes it a viewer.
type Handler struct {
	Admins    []string `json:"admins,omitempty"`    // may also restore, check and create repositories
	Operators []string `json:"operators,omitempty"` // may also run, cancel and download
	Viewers   []string `json:"viewers,omitempty"`   // may look

	// Where the name of the user is; default {http.auth.user.id}, which basic_auth sets. A request header is safe only
	// behind forward_auth or a proxy that sets it always; a field of the client's certificate counts only when the
	// certificate was verified.
	User string `json:"user,omitempty"`

	InsecureNoAuth bool   `json:"insecure_no_auth,omitempty"` // requests without a user are viewers
	ReadOnly       bool   `json:"read_only,omitempty"`        // nobody changes anything here; downloads stay
	HealthToken    string `json:"health_token,omitempty"`     // as "Authorization: Bearer …" opens health; may be a placeholder
	RestoreRoot    string `json:"restore_root,omitempty"`     // folder in which restores may make folders
	AllowUpload    int64  `json:"allow_upload,omitempty"`     // admins may restore dump files of at most so many bytes; 0: not from here

	log     *slog.Logger
	roles   map[string]Role
	token   [sha256.Size]byte // of the health token; hashes compare without telling lengths
	hint    sync.Once         // what to add for users is logged once
	stop    context.CancelFunc
	service func() *backup.Service
	api     *API
	pages   *router
	links   *router
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.backup", New: func() caddy.Module { return new(Handler) }}
}

// Provision finds the backup app and resolves placeholders.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.log = ctx.Slogger()
	var err error
	if h.service, err = serviceOf(ctx, "backup"); err != nil {
		return err
	}
	if h.AllowUpload < 0 {
		return fmt.Errorf("allow_upload %d must be a number of bytes", h.AllowUpload)
	}
	if err := errors.Join(h.resolveRoles(), h.resolveToken(), h.resolveRoot()); err != nil {
		return err
	}
	stopping, stop := context.WithCancel(context.Background())
	h.stop = stop
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		server.RegisterOnShutdown(stop) // open event streams would hold up the shutdown for as long as they like
	}
	h.api = &API{Service: h.service, Caller: h.who, RestoreRoot: h.RestoreRoot, UploadLimit: h.AllowUpload, Stopping: stopping.Done(), Logger: h.log}
	h.pages = newPages(h.api)
	h.links = newSignedLinks(h.service, h.log)
	return nil
}

// serviceOf finds the app by what it can do: the handlers know nothing of the package that the app is in. what is the
// handler that needs it.
func serviceOf(ctx caddy.Context, what string) (func() *backup.Service, error) {
	app, err := ctx.AppIfConfigured("backup")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil, fmt.Errorf("the handler %s needs the app backup: add the global option backup { … } "+
			"at the top of the Caddyfile, with a job in it", what)
	}
	if err != nil {
		return nil, err
	}
	provider, ok := app.(interface{ Service() *backup.Service })
	if !ok {
		return nil, fmt.Errorf("the app backup (%T) has no service", app)
	}
	return provider.Service, nil
}

func (h *Handler) resolveRoot() error {
	if h.RestoreRoot == "" {
		return nil
	}
	root, err := setting.Resolve("restore_root", h.RestoreRoot)
	if err != nil {
		return err
	}
	if !filepath.IsAbs(root) || filepath.Clean(root) == "/" {
		return fmt.Errorf("restore_root %q must be an absolute path of a folder, and not /", root)
	}
	h.RestoreRoot = filepath.Clean(root)
	return nil
}

// Cleanup ends the event streams of a configuration that goes.
func (h *Handler) Cleanup() error {
	if h.stop != nil {
		h.stop()
	}
	return nil
}

// ServeHTTP answers every request; next is never asked.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	switch {
	case r.URL.Path == "":
		addSlash(w, r)
	case r.URL.Path == "/health":
		h.api.ServeHTTP(w, r)
	case strings.HasPrefix(r.URL.Path, "/api/"):
		http.StripPrefix("/api", h.api).ServeHTTP(w, r)
	case strings.HasPrefix(r.URL.Path, "/links/"):
		h.links.ServeHTTP(w, r)
	default:
		h.pages.ServeHTTP(w, r)
	}
	return nil
}

// addSlash sends the browser from the mount point without its slash to the one with it, or relative links would lead
// elsewhere. What the browser calls the mount point only the original request knows.
func addSlash(w http.ResponseWriter, r *http.Request) {
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok || original.URL.Path == "" || strings.HasSuffix(original.URL.Path, "/") {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Location", "./"+path.Base(original.URL.EscapedPath())+"/")
	w.WriteHeader(http.StatusPermanentRedirect)
}

var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
