package integration

import (
	"strconv"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-backup/caddy-backup/backup"
)

func init() {
	caddy.RegisterModule(hurry{})
	httpcaddyfile.RegisterGlobalOption("hurry", func(d *caddyfile.Dispenser, _ any) (any, error) {
		var since, times string
		d.Next()
		if !d.AllArgs(&since, &times) {
			return nil, d.ArgErr()
		}
		var h hurry
		var err error
		if h.Since, err = strconv.ParseInt(since, 10, 64); err == nil {
			h.Times, err = strconv.Atoi(times)
		}
		return httpcaddyfile.App{Name: "test_hurry", Value: caddyconfig.JSON(h, nil)}, err
	})
}

// hurry is an app that makes the time of the app backup go by faster, also in processes of their own: since a time in Unix
// seconds, so many times as fast. In the Caddyfile: `hurry <since> <times>`.
type hurry struct {
	Since int64 `json:"since"`
	Times int   `json:"times"`
}

func (hurry) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "test_hurry", New: func() caddy.Module { return new(hurry) }}
}

// hurried are the services that were told, each once.
var hurried sync.Map

func (h *hurry) Provision(ctx caddy.Context) error {
	app, err := ctx.App("backup")
	if err != nil {
		return err
	}
	service := app.(interface{ Service() *backup.Service }).Service()
	if _, told := hurried.LoadOrStore(service, true); told {
		return nil
	}
	since, times := time.Unix(h.Since, 0), time.Duration(h.Times)
	service.UseClock(
		func() time.Time { return since.Add(time.Since(since) * times) },
		func(d time.Duration) *time.Timer { return time.NewTimer(d / times) })
	return nil
}

func (*hurry) Start() error { return nil }
func (*hurry) Stop() error  { return nil }
