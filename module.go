// Package caddybackup is the Caddy side of the product: the app "backup" with its Caddyfile and JSON, its place on
// Caddy's admin endpoint, and its command line. What is done lies in package backup; here it is plugged in.
package caddybackup

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump"

	// The guests: xcaddy names this package only, so everything is registered from here.
	_ "github.com/caddy-backup/caddy-backup/handler"
	_ "github.com/caddy-backup/caddy-backup/notify"
	_ "github.com/caddy-backup/caddy-backup/storage"
)

func init() {
	caddy.RegisterModule(App{})
}

// App backs up databases and folders into repositories in restic's format. It holds jobs (what is dumped together) and
// repositories (where it goes). Everything has a default but the sources of a job.
type App struct {
	// The zone of schedules and of the times in snapshots, as in "Europe/Paris". Default: the machine's.
	Timezone string `json:"timezone,omitempty"`

	// The host name in snapshots. Default: the machine's name at the first start, kept from then on, so that a
	// container's new name does not begin a new series.
	Host string `json:"host,omitempty"`

	// Whether several Caddys with the same storage share the jobs: then each run is made by one of them. It needs a host, and
	// repositories with storage and password.
	Cluster bool `json:"cluster,omitempty"`

	// Where snapshots go, by name. Default: one repository, "default", in Caddy's data directory.
	Repositories map[string]*Repository `json:"repositories,omitempty"`

	// What is backed up, in the order in which it is shown and run.
	Jobs []*Job `json:"jobs,omitempty"`

	// Whether nothing runs by itself: no schedule, and no retention after a backup. The command line sets it when it works
	// without the server.
	ByHand bool `json:"by_hand,omitempty"`

	// How people are told of what happens, by name. A job names those that it uses.
	Notifiers map[string]json.RawMessage `json:"notifiers,omitempty" caddy:"namespace=backup.notifiers inline_key=kind"`

	// The address of the page, for links in notifications, such as "https://backups.example.com". Default: no links.
	PublicURL string `json:"public_url,omitempty"`

	// How long after people were told that a job is overdue, or a repository damaged, they are told again, while it lasts.
	// Negative: never. Default: 24h.
	Remind caddy.Duration `json:"remind,omitempty"`

	ctx     caddy.Context // ours, for modules of jobs that are added later
	config  backup.Config // with secrets resolved; never marshalled; without jobs that were added at run time
	service *pooled       // the process-wide one; stays when our reference is given back, for requests still going on
	held    bool          // we hold a reference to it
	now     *inForce      // since Provision: what the Service has of us
	log     *zap.Logger
}

// Repository says where snapshots go and how they are kept there.
type Repository struct {
	// The storage. Default: the folder "backup/repository" in Caddy's data directory (other repositories than
	// "default" have their name appended).
	StorageRaw json.RawMessage `json:"storage,omitempty" caddy:"namespace=backup.storages inline_key=scheme"`

	// The password; placeholders such as {env.NAME} and {file./path} are good here. Default: a random one, made when the
	// repository is created, and kept in a file in Caddy's data directory.
	Password string `json:"password,omitempty"`

	// How new data is compressed: "auto", "off" or "max". Default: "auto".
	Compression string `json:"compression,omitempty"`

	// The size in bytes that packs grow to, 4 MiB to 128 MiB. Default: 16 MiB.
	PackSize int `json:"pack_size,omitempty"`

	// When it is checked, and how much of the data is read then. Default: only by hand.
	Check backup.CheckPlan `json:"check,omitzero"`

	// When the space is freed that no snapshot needs: on a schedule, or after each retention that removed something.
	// Default: only by hand.
	Prune backup.PrunePlan `json:"prune,omitzero"`
}

// Job is what is dumped together into one snapshot.
type Job struct {
	// The name, unique: letters, digits, and "-", "_", "." after the first. It is the folder in the snapshot.
	Name string `json:"name"`

	// What is dumped, at least one.
	Sources []*Source `json:"sources"`

	// The repository. Default: "default", or the only one.
	To string `json:"to,omitempty"`

	// How long a run may take before it is ended. Default: 24h.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// How long nothing may move in a run, neither bytes nor steps, before it is taken for hung and ended. Negative: for ever.
	// Default: 1h.
	StallTimeout caddy.Duration `json:"stall_timeout,omitempty"`

	// When the job runs: "hourly", "daily 03:15", "weekly sun 04:00", "every 6h", or the five fields of cron. Default: only
	// by hand.
	Schedule backup.Schedule `json:"schedule,omitzero"`

	// The zone of the schedule, of retention and of the times in snapshots. Default: that of all.
	Timezone string `json:"timezone,omitempty"`

	// Scheduled runs begin up to so much later, each always by the same. Default: 0.
	Jitter caddy.Duration `json:"jitter,omitempty"`

	// How long after a good backup the next one is overdue. Default: two hours after it should have been
	// there, or as long after that as there is between two of its times, if that is less.
	OverdueAfter caddy.Duration `json:"overdue_after,omitempty"`

	// By how much a part may shrink from one good snapshot to the next, as in "50%", before the backup is suspect; "off": as
	// much as it likes, as long as it does not become empty. Default: "50%", for parts of 1 MiB and more.
	ShrinkLimit string `json:"shrink_limit,omitempty"`

	// Programs that are run before the dumps, in this order. When one fails or takes too long, nothing is dumped and the run has
	// failed.
	Before []*dump.Hook `json:"before,omitempty"`

	// Programs that are run after the dumps, in this order, and in any case once the first of those before the dumps, or a dump, was
	// about to begin: also when something failed, the run was cancelled or the server stops; after a crash at its next start. When
	// one fails although all was dumped, the snapshot is suspect.
	After []*dump.Hook `json:"after,omitempty"`

	// When the newest good snapshot is tried out: restored into a scratch place, checked, and removed there again. Default:
	// only by hand.
	Drill backup.Schedule `json:"drill,omitzero"`

	// Which snapshots of the job stay. Default: all.
	Retention *backup.Retention `json:"retention,omitempty"`

	// Which notifiers are told of what. Default: nobody of anything.
	Notify []backup.Subscription `json:"notify,omitempty"`

	// Further addresses for the mails about this job, by the email notifiers that notify names; when it names none, by the
	// only one there is. Placeholders are replaced.
	MailTo []string `json:"mail_to,omitempty"`

	// The form in which the page and mails give the files that were dumped: "none", "gz", "bz2" or "zst". Default: "none", as
	// they are.
	DownloadFormat string `json:"download_format,omitempty"`

	// Whether the job is neither scheduled nor run when all jobs are. By name it still can be.
	Disabled bool `json:"disabled,omitempty"`
}

// Source is something that can be dumped, under the name that it has in snapshots.
type Source struct {
	// The name, unique in the job, of the same form as a job's.
	Name string `json:"name"`

	// What it is.
	SourceRaw json.RawMessage `json:"source" caddy:"namespace=backup.sources inline_key=engine"`
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "backup", New: func() caddy.Module { return new(App) }}
}

// Provision loads the guests and prepares the configuration. It opens no repository and no connection, so that
// `caddy validate` is free of effects.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.log, a.now = ctx, ctx.Logger(), &inForce{ended: make(chan struct{})}
	if err := a.configure(ctx); err != nil {
		return err
	}
	a.now.settings = sync.OnceValue(a.config.JobSettings) // not now: it may write down the host's name
	app, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("getting the events app: %w", err)
	}
	events := app.(*caddyevents.App)
	if err := events.On("stopping", exitHandler{a, a.log}); err != nil {
		return err
	}
	v, _, err := services.LoadOrNew(serviceKey, func() (caddy.Destructor, error) {
		return &pooled{Service: backup.New()}, nil
	})
	if err != nil {
		return err
	}
	a.service, a.held = v.(*pooled), true
	return a.observe(ctx, events)
}

// Start makes this configuration the current one. During a reload the old one is still attached; it becomes current
// again if this one is taken back. Jobs that were added at run time are read here and not in Provision: whether a
// configuration is right does not hang on them.
func (a *App) Start() error {
	changed := a.service.news.wait() // asked for before the first look, or a change behind that would be missed
	if err := a.first(); err != nil {
		return fmt.Errorf("starting backup: %w", err)
	}
	if !a.ByHand {
		go a.watch(a.now.ended, changed)
	}
	a.warnOfSilence()
	a.warnOfCries()
	a.log.Info("ready to back up", zap.Int("jobs", len(a.jobsNow())), zap.Int("repositories", len(a.config.Repositories)))
	return nil
}

// Stop takes this configuration back. Runs that go on belong to the Service and are not touched.
func (a *App) Stop() error {
	if a.now == nil {
		return nil
	}
	a.now.mu.Lock()
	defer a.now.mu.Unlock()
	if !a.stopped() {
		close(a.now.ended)
	}
	if a.now.detach != nil {
		a.now.detach()
		a.now.detach = nil
	}
	for _, x := range a.now.added {
		x.unload()
	}
	a.now.added = nil
	return nil
}

// Cleanup undoes Start and Provision. Caddy calls it without Stop when Start failed, and when Provision failed half
// way: only what this instance holds is given back, else the running configuration would lose its reference.
func (a *App) Cleanup() error {
	err := a.Stop()
	if a.held {
		a.held = false
		_, err = services.Delete(serviceKey)
	}
	return err
}

// Service is the engine that all fronts share. It is what handlers look for, by assertion.
func (a *App) Service() *backup.Service { return a.service.Service }

// JobNames lists the jobs of this configuration, for handlers that are told to serve some. Those that were added at run time are
// not among them: they can go, and a handler that names one would keep the configuration from being loaded again.
func (a *App) JobNames() []string {
	names := make([]string, len(a.config.Jobs))
	for i, j := range a.config.Jobs {
		names[i] = j.Name
	}
	return names
}

// services holds the one Service of the process: it outlives configurations, because runs do.
var services = caddy.NewUsagePool()

const (
	serviceKey = "service"
	// closeTimeout bounds how long the end of the last configuration waits for runs to be recorded as interrupted.
	// systemd's unit kills Caddy 5 s after it asked it to stop, and Destruct runs inside Caddy's configuration lock.
	closeTimeout = 3 * time.Second
)

type pooled struct {
	*backup.Service
	news news // of jobs that are added and removed

	mu      sync.Mutex
	counted map[string]bool                // jobs that the counters have
	added   map[string][]backup.JobSetting // as they were last read, of one host
}

// Destruct ends all runs when no configuration is left that uses the Service.
func (p *pooled) Destruct() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return p.Close(ctx)
}

// exitHandler ends runs as soon as the process is asked to exit. Stop would be too late: apps stop one after the other, and
// the HTTP servers wait for open connections, by default for ever.
type exitHandler struct {
	app *App
	log *zap.Logger
}

// Handle is told of reloads, too; then there is nothing to do.
func (h exitHandler) Handle(context.Context, caddy.Event) error {
	if caddy.Exiting() {
		go func() {
			if err := h.app.service.Destruct(); err != nil {
				h.log.Error("ending runs", zap.Error(err))
			}
		}()
	}
	return nil
}

// Interface guards
var (
	_ caddy.App           = (*App)(nil)
	_ caddy.Provisioner   = (*App)(nil)
	_ caddy.Validator     = (*App)(nil)
	_ caddy.CleanerUpper  = (*App)(nil)
	_ caddyevents.Handler = exitHandler{}
	_ caddy.Destructor    = (*pooled)(nil)
)
