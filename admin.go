package caddybackup

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/handler"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// adminMount is where the API stands on the admin endpoint.
const adminMount = "/backup/"

// commandLineAgent is the User-Agent by which the admin endpoint knows our command line. It only chooses the name that
// a run bears: whoever reaches the endpoint may do everything anyway.
const commandLineAgent = "caddy-backup-command-line"

// adminAPI serves the API on Caddy's admin endpoint, without roles: who can reach the endpoint controls the server.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.backup", New: func() caddy.Module { return new(adminAPI) }}
}

// Routes mounts the whole API under one pattern; it answers unknown paths itself, in JSON.
func (adminAPI) Routes() []caddy.AdminRoute {
	api := http.StripPrefix("/backup", &handler.API{Service: activeService, Caller: adminCaller, Unlimited: true, Keeper: activeKeeper})
	return []caddy.AdminRoute{{
		Pattern: adminMount,
		Handler: caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			api.ServeHTTP(w, r)
			return nil
		}),
	}}
}

func adminCaller(r *http.Request) handler.Caller {
	if r.UserAgent() == commandLineAgent {
		return handler.Caller{Name: "command line", Role: handler.Root}
	}
	return handler.Caller{Name: "admin", Role: handler.Root}
}

// activeService finds the Service of the configuration that runs now; nil when it has none. It is asked for each
// request: admin routers are made before apps, and one kept from then would be stale after a reload that failed.
func activeService() *backup.Service {
	if app := activeApp(); app != nil {
		return app.Service()
	}
	return nil
}

// activeKeeper finds the app of the configuration that runs now as the one that adds jobs; nil when it has none.
func activeKeeper() handler.JobKeeper {
	if app := activeApp(); app != nil {
		return app
	}
	return nil
}

func activeApp() *App {
	app, err := caddy.ActiveContext().AppIfConfigured("backup")
	if err != nil {
		return nil
	}
	return app.(*App)
}

// Interface guard
var _ caddy.AdminRouter = (*adminAPI)(nil)
