package caddybackup

import (
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/internal/near"
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
		c.Password, c.PasswordFrom, c.PasswordFiles = []byte(password), placeOf(r.Password), filesIn(r.Password)
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
		known := guests("backup." + what + "s")
		return fmt.Errorf("unknown %s %q; %sknown are: %s", what, name, didYouMean(name, known), strings.Join(known, ", "))
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

// didYouMean asks for the name that may have been meant by one that is not known; "" when none is near.
func didYouMean(name string, names []string) string {
	if like := near.Word(name, names); like != "" {
		return "did you mean " + like + "? "
	}
	return ""
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
