package caddybackup

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump"
	"github.com/caddy-backup/caddy-backup/internal/setting"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
)

// defaultRepository is the name of the repository that needs no name.
const defaultRepository = "default"

// configure turns the JSON into what the Service is told.
func (a *App) configure(ctx caddy.Context) error {
	a.config = backup.Config{
		Store:     ctx.Storage(),
		Logger:    ctx.Slogger(),
		Versions:  versions(),
		Automatic: !a.ByHand,
		Cluster:   a.Cluster,
		Remind:    time.Duration(a.Remind),
	}
	if err := a.checkCluster(); err != nil {
		return err
	}
	dataDir, err := filepath.Abs(filepath.Join(caddy.AppDataDir(), "backup"))
	if err != nil {
		return err
	}
	a.config.DataDir = dataDir
	if a.config.Host, err = setting.Resolve("host", a.Host); err != nil {
		return err
	}
	if a.config.Zone, err = loadZone(a.Timezone); err != nil {
		return err
	}
	if err := a.configureRepositories(ctx); err != nil {
		return err
	}
	if err := a.configureNotifiers(ctx); err != nil {
		return err
	}
	return a.configureJobs(ctx)
}

func loadZone(name string) (*time.Location, error) {
	if name == "" {
		return time.Local, nil
	}
	name, err := setting.Resolve("timezone", name)
	if err != nil {
		return nil, err
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("bad timezone %q: %w; write it as in Europe/Paris", name, err)
	}
	return zone, nil
}

// configureRepositories loads the storages, "default" first and then by name: JSON objects have no order of their own.
func (a *App) configureRepositories(ctx caddy.Context) error {
	repositories := a.Repositories
	if len(repositories) == 0 {
		repositories = map[string]*Repository{defaultRepository: {}}
	}
	names := slices.SortedFunc(maps.Keys(repositories), func(x, y string) int {
		if (x == defaultRepository) != (y == defaultRepository) {
			if x == defaultRepository {
				return -1
			}
			return 1
		}
		return strings.Compare(x, y)
	})
	for _, name := range names {
		r := repositories[name]
		if r == nil {
			r = new(Repository)
		}
		c, err := r.configure(ctx, name, a.config.DataDir)
		if err != nil {
			return fmt.Errorf("repository %s: %w", name, err)
		}
		a.config.Repositories = append(a.config.Repositories, c)
	}
	return nil
}

func (r *Repository) configure(ctx caddy.Context, name, dataDir string) (backup.RepositoryConfig, error) {
	c := backup.RepositoryConfig{
		Name: name, Compression: repo.Compression(r.Compression), PackSize: r.PackSize, Check: r.Check, Prune: r.Prune,
	}
	password, err := setting.Resolve("password", r.Password)
	if err != nil {
		return c, err
	}
	if password != "" {
		c.Password, c.PasswordFrom = []byte(password), placeOf(r.Password)
	}
	if r.StorageRaw == nil {
		r.StorageRaw = caddyconfig.JSONModuleObject(
			&storage.LocalModule{Path: defaultFolder(dataDir, name)}, "scheme", "local", nil)
	}
	if err := needsKey(r.StorageRaw, "storage", "scheme"); err != nil {
		return c, err
	}
	mod, err := ctx.LoadModule(r, "StorageRaw")
	if err != nil {
		return c, fmt.Errorf("storage: %w", err)
	}
	st, ok := mod.(backup.Storage)
	if !ok {
		return c, fmt.Errorf("storage: %T is not a storage for backups", mod)
	}
	c.Storage = storage.Reliable(st, ctx.Slogger().With("repository", name))
	return c, nil
}

// defaultFolder is where a repository lies that has no storage configured.
func defaultFolder(dataDir, name string) string {
	if name == defaultRepository {
		return filepath.Join(dataDir, "repository")
	}
	return filepath.Join(dataDir, "repository-"+name)
}

func (a *App) configureJobs(ctx caddy.Context) error {
	for i, j := range a.Jobs {
		if j == nil {
			return fmt.Errorf("job %d is null", i)
		}
		job, err := a.configureJob(ctx, j)
		if err != nil {
			return fmt.Errorf("job %s: %w", j.Name, err)
		}
		a.config.Jobs = append(a.config.Jobs, job)
	}
	a.leaveOut(a.config.Jobs)
	return nil
}

func (a *App) configureJob(ctx caddy.Context, j *Job) (job backup.Job, err error) {
	job = backup.Job{
		Name: j.Name, To: a.repositoryOf(j), Timeout: time.Duration(j.Timeout), Off: j.Disabled, Retention: j.Retention, ShrinkLimit: j.ShrinkLimit,
		DownloadFormat: j.DownloadFormat,
		Schedule:       j.Schedule, Zone: a.config.Zone, Jitter: time.Duration(j.Jitter), Stall: time.Duration(j.StallTimeout), OverdueAfter: time.Duration(j.OverdueAfter), Drill: j.Drill, Notify: j.Notify,
	}
	if job.MailTo, err = setting.ResolveAll("mail_to", j.MailTo); err != nil {
		return job, err
	}
	if job.Before, err = configureHooks("before", j.Before); err != nil {
		return job, err
	}
	if job.After, err = configureHooks("after", j.After); err != nil {
		return job, err
	}
	if j.Timezone != "" {
		if job.Zone, err = loadZone(j.Timezone); err != nil {
			return job, err
		}
	}
	for k, s := range j.Sources {
		if s == nil {
			return job, fmt.Errorf("source %d is null", k)
		}
		source, err := s.configure(ctx)
		if err != nil {
			return job, fmt.Errorf("source %s: %w", s.Name, err)
		}
		job.Sources = append(job.Sources, source)
	}
	return job, nil
}

// configureHooks prepares the programs of a job that come before or after its dumps.
func configureHooks(when string, hooks []*dump.Hook) (list []backup.Hook, err error) {
	for i, h := range hooks {
		if h == nil {
			return nil, fmt.Errorf("%s: program %d is null", when, i)
		}
		if err := h.Configure(); err != nil {
			return nil, fmt.Errorf("%s: %w", when, err)
		}
		list = append(list, h)
	}
	return list, nil
}

func (s *Source) configure(ctx caddy.Context) (backup.NamedSource, error) {
	if err := needsKey(s.SourceRaw, "source", "engine"); err != nil {
		return backup.NamedSource{}, err
	}
	mod, err := ctx.LoadModule(s, "SourceRaw")
	if err != nil {
		return backup.NamedSource{}, err
	}
	source, ok := mod.(backup.Source)
	if !ok {
		return backup.NamedSource{}, fmt.Errorf("%T is not a source of backups", mod)
	}
	kind := mod.(caddy.Module).CaddyModule().ID.Name()
	return backup.NamedSource{Name: s.Name, Kind: kind, Source: source}, nil
}

// repositoryOf applies the default of `to`. A job whose repository remains open is Validate's to refuse.
func (a *App) repositoryOf(j *Job) string {
	if j.To == "" && len(a.config.Repositories) == 1 {
		return a.config.Repositories[0].Name
	}
	if j.To == "" {
		return defaultRepository
	}
	return j.To
}

// leaveOut has the sources of jobs that save folders leave out what is ours: repositories, for one within itself would grow
// without end; generated passwords and password files, for one within its repository is lost with it; and databases that are
// sources themselves, for a copy of one in use is worth nothing, and reading its files beside a dump in the same process
// would take away the locks that the dump holds on them.
func (a *App) leaveOut(jobs []backup.Job) {
	paths := a.PrivatePaths()
	for _, j := range jobs {
		for _, s := range j.Sources {
			if database, ok := s.Source.(interface{ OwnFiles() []string }); ok {
				paths = append(paths, database.OwnFiles()...)
			}
		}
	}
	for _, j := range jobs {
		for _, s := range j.Sources {
			if folder, ok := s.Source.(interface{ SkipPaths(paths []string) }); ok {
				folder.SkipPaths(paths)
			}
		}
	}
}

// PrivatePaths lists folders and files of this machine that no handler may serve: repositories, and what opens them.
func (a *App) PrivatePaths() []string {
	paths := []string{a.config.DataDir}
	for _, r := range a.config.Repositories {
		if at := r.Storage.Location(); filepath.IsAbs(at) {
			paths = append(paths, at)
		}
	}
	for _, r := range a.Repositories {
		if r != nil {
			paths = append(paths, filesIn(r.Password)...)
		}
	}
	return paths
}

// placeOf says where a text that may be a placeholder comes from.
func placeOf(s string) string {
	m := wholePlaceholder.FindStringSubmatch(s)
	switch {
	case m == nil:
		return "the configuration"
	case m[1] == "env":
		return "the environment variable " + m[2]
	}
	return "the file " + strings.Join(filesIn(s), " ")
}

var wholePlaceholder = regexp.MustCompile(`^\{(env|file)\.([^}]+)\}$`)

var filePlaceholder = regexp.MustCompile(`\{file\.([^}]+)\}`)

// filesIn names the files that a text takes its content from.
func filesIn(s string) (paths []string) {
	for _, m := range filePlaceholder.FindAllStringSubmatch(s, -1) {
		if p, err := filepath.Abs(m[1]); err == nil {
			paths = append(paths, p)
		}
	}
	return paths
}

// needsKey makes sure that a guest's name is there. Caddy's own error for a missing one shows the whole object,
// passwords included.
func needsKey(raw json.RawMessage, what, key string) error {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		return fmt.Errorf("%s is not a JSON object", what)
	}
	var name string
	if err := json.Unmarshal(object[key], &name); err != nil || name == "" {
		return fmt.Errorf("%s has no %q that says what it is", what, key)
	}
	id := "backup." + what + "s." + name
	if _, err := caddy.GetModule(id); err != nil {
		return fmt.Errorf("unknown %s %q; known are: %s", what, name, strings.Join(guests("backup."+what+"s"), ", "))
	}
	return nil
}

// guests names the modules of a namespace.
func guests(namespace string) (names []string) {
	for _, m := range caddy.GetModules(namespace) {
		names = append(names, m.ID.Name())
	}
	return names
}

// versions names the programs around the engine, for the manifest.
func versions() map[string]string {
	server, _ := caddy.Version()
	v := map[string]string{"caddy": server, "caddy-backup": "unknown"}
	const module = "github.com/caddy-backup/caddy-backup"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == module && m.Version != "" {
			v["caddy-backup"] = m.Version
		}
	}
	return v
}
