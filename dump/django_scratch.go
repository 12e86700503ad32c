package dump

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddy-backup/caddy-backup/backup"
)

// djangoScratch are the settings of a project over a scratch database.
//
//go:embed django_code/scratch.py
var djangoScratch []byte

const (
	scratchFile   = "scratch.sqlite3"
	scratchModule = "caddy_backup_scratch"
)

// wayToMigrate is told of a database that has tables, but nothing that says by which migrations they came.
const wayToMigrate = "its tables were made from the models: before Django migrates it, run manage.py migrate --fake with it"

// Restore makes a new database with tables of the project's models, and loads the fixture into it: a new SQLite file, when the place is
// an absolute path; else a new database of that name on the project's PostgreSQL server. With the engine native it does what the
// database's own source does.
func (d *Django) Restore(ctx context.Context, p backup.Part, r io.Reader, place string, t *backup.Task) error {
	if d.native() {
		source, err := d.inner(ctx, t)
		if err != nil {
			return err
		}
		return source.Restore(ctx, p, r, place, t)
	}
	s := backup.Stored{Part: p}
	if filepath.IsAbs(place) {
		return d.restoreFile(ctx, s, r, filepath.Clean(place), t)
	}
	project, err := d.told(ctx, t, djangoAsked{Secrets: true})
	if err != nil {
		return err
	}
	if project.Vendor != "postgresql" {
		return fmt.Errorf("%w: '%s' is no absolute path of a new SQLite database; a fixture goes back into the project with --overwrite",
			backup.ErrInvalid, place)
	}
	return d.restoreDatabase(ctx, project, s, r, place, t)
}

func (d *Django) restoreFile(ctx context.Context, s backup.Stored, r io.Reader, place string, t *backup.Task) error {
	if err := nothingAt(place); err != nil {
		return err
	}
	parent, err := os.OpenRoot(filepath.Dir(place))
	if err != nil {
		return fmt.Errorf("as user %s: %w; create the folder, or give that user the right to write there", userName(), err)
	}
	x, err := newChange(parent, filepath.Base(place))
	if err != nil {
		return errors.Join(err, parent.Close())
	}
	defer x.close()
	dir := filepath.Join(filepath.Dir(place), x.dir)
	if _, err := d.scratch(ctx, s, r, x.private, dir, filepath.Join(dir, scratchFile), t); err != nil {
		return err
	}
	if err := renameNew(filepath.Join(dir, scratchFile), place); errors.Is(err, fs.ErrExist) {
		return nothingAt(place)
	} else if err != nil {
		return err
	}
	t.Log.Info("restored into the new database " + place + "; " + wayToMigrate)
	return syncDir(filepath.Dir(place))
}

func (d *Django) restoreDatabase(ctx context.Context, project djangoProject, s backup.Stored, r io.Reader, place string, t *backup.Task) (err error) {
	if err := checkDatabaseName(place); err != nil {
		return err
	}
	b, err := d.beside(ctx, project, newBuildName(), t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if there, err := b.exists(ctx, place); err != nil || there {
		return errors.Join(err, b.db.conflict(place))
	}
	if err := b.create(ctx, new(pgStream), t); err != nil {
		return err
	}
	b.made = true
	if _, err := d.fill(ctx, b, s, r, t); err != nil {
		return err
	}
	if err := b.open(ctx); err != nil {
		return err
	}
	t.Log.Info("restored into the new database " + place + "; " + wayToMigrate)
	return b.rename(ctx, place)
}

// beside begins a database on the server of the project's own.
func (d *Django) beside(ctx context.Context, project djangoProject, name string, t *backup.Task) (*building, error) {
	dsn, err := project.Database.postgres()
	if err != nil {
		return nil, fmt.Errorf("database %s of %s: %w", d.alias(), d.Manage, err)
	}
	db, err := newPgDatabase(dsn)
	if err != nil {
		return nil, fmt.Errorf("database %s of %s: %w", d.alias(), d.Manage, err)
	}
	return db.begin(ctx, name, t)
}

// fill has a database that was made get the schemas and extensions that the live one has, the tables of the models, and the rows.
func (d *Django) fill(ctx context.Context, b *building, s backup.Stored, r io.Reader, t *backup.Task) (loaded djangoLoaded, err error) {
	if err := b.furnish(ctx, t); err != nil {
		return loaded, err
	}
	dir, err := os.MkdirTemp("", "caddy-backup-")
	if err != nil {
		return loaded, err
	}
	defer os.RemoveAll(dir)
	return d.scratchIn(ctx, s, r, dir, b.name, t)
}

// furnish makes what models need besides their tables. What cannot be made is told: only some models may need it.
func (b *building) furnish(ctx context.Context, t *backup.Task) error {
	live, err := b.db.connect(ctx, b.db.name)
	if err != nil {
		return err
	}
	defer closePg(live)
	made, err := b.db.connect(ctx, b.name)
	if err != nil {
		return err
	}
	defer closePg(made)
	statements, err := pgColumn(ctx, live, `SELECT format('CREATE SCHEMA IF NOT EXISTS %I', nspname) FROM pg_namespace
		WHERE nspname NOT LIKE 'pg\_%' AND nspname <> 'information_schema' UNION ALL
		SELECT format('CREATE EXTENSION IF NOT EXISTS %I SCHEMA %I', extname, nspname) FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace
		WHERE extname <> 'plpgsql'`)
	if err != nil {
		return fmt.Errorf("asking for schemas and extensions: %w", err)
	}
	for _, sql := range statements {
		if err := made.Exec(ctx, sql).Close(); err != nil {
			t.Log.Warn("the scratch database does not get what the live one has", "statement", sql, "error", err)
		}
	}
	return context.Cause(ctx)
}

// scratchIn is scratch in a folder whose own folder nobody else can change.
func (d *Django) scratchIn(ctx context.Context, s backup.Stored, r io.Reader, dir, database string, t *backup.Task) (djangoLoaded, error) {
	private, err := os.OpenRoot(dir)
	if err != nil {
		return djangoLoaded{}, err
	}
	defer private.Close()
	return d.scratch(ctx, s, r, private, dir, database, t)
}

// scratch makes the tables of the project's models in a scratch database, the name of one on the project's server or the path of a SQLite
// file, and loads the rows of a fixture. It needs a private folder, and its path. The folder may lie where the project's user can put
// another one into its place: what is given to that user must not be found by its path.
func (d *Django) scratch(ctx context.Context, s backup.Stored, r io.Reader, private *os.Root, dir, database string, t *backup.Task) (
	loaded djangoLoaded, err error) {
	project, err := d.project(ctx, t)
	if err != nil {
		return loaded, err
	}
	if project.Settings == "" || project.Configuration != "" {
		return loaded, fmt.Errorf("%w: %s has its settings in no ordinary module, so that they cannot be had with a scratch database",
			backup.ErrInvalid, d.Manage)
	}
	if err := private.WriteFile(scratchModule+".py", djangoScratch, 0o644); err != nil {
		return loaded, err
	}
	var p program
	if d.User != "" {
		// Our umask may keep others from reading what is ours.
		err = cmp.Or(private.Chmod(scratchModule+".py", 0o644), p.become(d.User))
	}
	if err == nil && p.as != nil {
		err = private.Chown(".", int(p.as.Uid), int(p.as.Gid))
	}
	if err != nil {
		return loaded, err
	}
	env := []string{
		"CADDY_BACKUP_SETTINGS=" + project.Settings, "CADDY_BACKUP_ALIAS=" + d.alias(), "CADDY_BACKUP_SCRATCH=" + database,
		"CELERY_BROKER_URL=memory://", // it would win over the settings
	}
	args := []string{"--settings=" + scratchModule, "--pythonpath=" + dir}
	if err := d.ask(ctx, t, d.loading("drill", s), env, args, r, &loaded); err != nil {
		return loaded, fmt.Errorf("loading the fixture into a scratch database: %w", err)
	}
	return loaded, nil
}

// Drill loads the fixture into a scratch database with tables of the project's models, and counts the rows: a PostgreSQL database beside
// the project's own, when that is one and its user may make them, else a SQLite file. With the engine native it does what the database's
// own source does.
func (d *Django) Drill(ctx context.Context, s backup.Stored, r io.Reader, at backup.Scratch, t *backup.Task) (facts backup.Facts, err error) {
	if d.native() {
		source, err := d.inner(ctx, t)
		if err != nil {
			return facts, err
		}
		return source.Drill(ctx, s, r, at, t)
	}
	project, err := d.told(ctx, t, djangoAsked{Secrets: true})
	if err != nil {
		return facts, err
	}
	var loaded djangoLoaded
	denied := error(nil)
	if project.Vendor == "postgresql" {
		loaded, denied, err = d.drillBeside(ctx, project, s, r, at, t)
		facts.Checked = "loaded into a scratch PostgreSQL database"
	}
	if project.Vendor != "postgresql" || denied != nil {
		loaded, err = d.drillFile(ctx, s, r, at, t)
		facts.Checked = "loaded into a scratch SQLite database"
	}
	if denied != nil {
		facts.Notes = append(facts.Notes, "tried out with SQLite, since no scratch database could be made on the project's own server: "+denied.Error())
		if err != nil {
			err = fmt.Errorf("%w; SQLite cannot hold all that PostgreSQL can, and a scratch database on its server could not be made: %w", err, denied)
		}
	}
	if err != nil {
		return backup.Facts{}, err
	}
	facts.Checked += " with the project's models, constraints checked"
	// The fixture does not know models without rows, and the scratch project has rows of its own of what is left out.
	maps.DeleteFunc(loaded.Rows, func(model string, _ int64) bool { _, ok := s.Facts.Rows[model]; return !ok })
	facts.Rows = loaded.Rows
	return facts, nil
}

// drillBeside tries out in a database of the project's server. When its user may not make any, denied says so, and r is untouched.
func (d *Django) drillBeside(ctx context.Context, project djangoProject, s backup.Stored, r io.Reader, at backup.Scratch, t *backup.Task) (
	loaded djangoLoaded, denied, err error) {
	if !strings.HasPrefix(at.Name, backup.ScratchPrefix) {
		return loaded, nil, fmt.Errorf("%w: '%s' is no name for a scratch database", backup.ErrInvalid, at.Name)
	}
	b, err := d.beside(ctx, project, at.Name, t)
	if err != nil {
		return loaded, nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.db.space(ctx, b.conn, s.Size); err != nil {
		return loaded, nil, err
	}
	err = b.create(ctx, new(pgStream), t)
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == "42501" { // insufficient_privilege
		return loaded, err, nil
	}
	if err != nil {
		return loaded, nil, err
	}
	b.made = true
	loaded, err = d.fill(ctx, b, s, r, t)
	return loaded, nil, err
}

func (d *Django) drillFile(ctx context.Context, s backup.Stored, r io.Reader, at backup.Scratch, t *backup.Task) (loaded djangoLoaded, err error) {
	dir := at.Dir
	if d.User != "" {
		// That user cannot reach what lies in our own data folder.
		if dir = filepath.Join(os.TempDir(), at.Name); at.Name == "" {
			return loaded, fmt.Errorf("%w: a drill without a name", backup.ErrInvalid)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			return loaded, err
		}
		defer os.RemoveAll(dir)
	}
	return d.scratchIn(ctx, s, r, dir, filepath.Join(dir, scratchFile), t)
}

// SweepDrills removes the folders that killed drills of another user left, or has the database's own source remove what they
// left in it.
func (d *Django) SweepDrills(ctx context.Context, abandoned func(name string) bool, t *backup.Task) error {
	if !d.native() {
		if err := sweepScratch(os.TempDir(), abandoned); err != nil {
			return err
		}
	}
	project, err := d.told(ctx, t, djangoAsked{Secrets: true})
	if err != nil || !d.native() && project.Vendor != "postgresql" {
		return err
	}
	source, err := d.source(project)
	if err != nil {
		return err
	}
	if sweeper, ok := source.(backup.DrillSweeper); ok {
		return sweeper.SweepDrills(ctx, abandoned, t)
	}
	return nil
}

// sweepScratch removes the scratch folders in dir that nobody needs any more.
func sweepScratch(dir string, abandoned func(name string) bool) error {
	left, err := filepath.Glob(filepath.Join(dir, backup.ScratchPrefix+"*"))
	for _, path := range left {
		if abandoned(filepath.Base(path)) {
			err = errors.Join(err, os.RemoveAll(path))
		}
	}
	return err
}

var (
	_ backup.Driller      = (*Django)(nil)
	_ backup.DrillSweeper = (*Django)(nil)
)
