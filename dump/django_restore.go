package dump

import (
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

	"github.com/caddy-backup/caddy-backup/backup"
)

// Live is the path of manage.py, whatever database it leads to: that is not known without running it.
func (d *Django) Live(backup.Stored) string { return d.Manage }

// Ready asks the project, and the database's own source.
func (d *Django) Ready(ctx context.Context, s backup.Stored, o backup.Over, t *backup.Task) error {
	project, err := d.project(ctx, t)
	if err != nil {
		return err
	}
	if d.native() {
		source, err := d.source(project)
		if err != nil {
			return err
		}
		return source.Ready(ctx, s, o, t)
	}
	if len(project.Problems) > 0 {
		return fmt.Errorf("%s: %s", d.Manage, strings.Join(project.Problems, "; "))
	}
	if dumped, found := strings.CutPrefix(s.Facts.Engine, "Django "); found && dumped != project.Django {
		t.Log.Warn("the fixture was made with another version of Django", "dumped", dumped, "now", project.Django)
	}
	return nil
}

// Overwrite loads the fixture in one transaction, in which what the apps hold, but for what is excluded, is deleted first, unless Merge is
// set, and the rows are counted last. Rows of other apps stay as they are; when they refer to something that is gone then, nothing is changed.
func (d *Django) Overwrite(ctx context.Context, s backup.Stored, r io.Reader, o backup.Over, t *backup.Task) error {
	if d.native() {
		source, err := d.inner(ctx, t)
		if err != nil {
			return err
		}
		return source.Overwrite(ctx, s, r, o, t)
	}
	asked := d.loading("load", s)
	asked.Empty = !d.Merge
	var answer djangoLoaded
	if err := d.ask(ctx, t, asked, nil, nil, r, &answer); err != nil {
		return fmt.Errorf("loading the fixture into %s, which was undone: %w", d.Manage, err)
	}
	return nil
}

// djangoLoaded is what ask.py answers when it has loaded a fixture.
type djangoLoaded struct {
	Rows map[string]int64 `json:"rows"`
}

func (d *Django) loading(what string, s backup.Stored) djangoAsked {
	format := strings.TrimPrefix(filepath.Ext(s.Name), ".")
	if fixtures[format] == "" {
		format = d.format()
	}
	return djangoAsked{What: what, Apps: append([]string{}, d.Apps...), Exclude: append([]string{}, d.Exclude...), Database: d.alias(),
		Format: format, Empty: true, Rows: s.Facts.Rows}
}

// Restore makes a new SQLite database of the project's models, and loads the fixture into it; with the engine native it does what
// the database's own source does.
func (d *Django) Restore(ctx context.Context, p backup.Part, r io.Reader, place string, t *backup.Task) error {
	if d.native() {
		source, err := d.inner(ctx, t)
		if err != nil {
			return err
		}
		return source.Restore(ctx, p, r, place, t)
	}
	if !filepath.IsAbs(place) {
		return fmt.Errorf("%w: '%s' is no absolute path of a new SQLite database; a fixture goes back into the project with --overwrite",
			backup.ErrInvalid, place)
	}
	if err := nothingAt(place); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(place), ".restore-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if _, err := d.scratch(ctx, backup.Stored{Part: p}, r, dir, t); err != nil {
		return err
	}
	if err := renameNew(filepath.Join(dir, scratchFile), place); errors.Is(err, fs.ErrExist) {
		return nothingAt(place)
	} else if err != nil {
		return err
	}
	return syncDir(filepath.Dir(place))
}

const (
	scratchFile   = "scratch.sqlite3"
	scratchModule = "caddy_backup_scratch"
)

//go:embed django_code/scratch.py
var djangoScratch []byte

// scratch makes a SQLite database in a private folder, with the tables of the project's models and the rows of a fixture.
func (d *Django) scratch(ctx context.Context, s backup.Stored, r io.Reader, dir string, t *backup.Task) (loaded djangoLoaded, err error) {
	project, err := d.project(ctx, t)
	if err != nil {
		return loaded, err
	}
	if err := os.WriteFile(filepath.Join(dir, scratchModule+".py"), djangoScratch, 0o644); err != nil {
		return loaded, err
	}
	var p program
	if d.User != "" {
		err = p.become(d.User)
	}
	if err == nil && p.as != nil {
		err = os.Chown(dir, int(p.as.Uid), int(p.as.Gid))
	}
	if err != nil {
		return loaded, err
	}
	env := []string{
		"CADDY_BACKUP_SETTINGS=" + project.Settings, "CADDY_BACKUP_ALIAS=" + d.alias(),
		"CADDY_BACKUP_SCRATCH=" + filepath.Join(dir, scratchFile),
	}
	args := []string{"--settings=" + scratchModule, "--pythonpath=" + dir}
	if err := d.ask(ctx, t, d.loading("drill", s), env, args, r, &loaded); err != nil {
		return loaded, fmt.Errorf("loading the fixture into a scratch database: %w", err)
	}
	return loaded, nil
}

// Drill loads the fixture into a scratch SQLite database with the project's models, and counts the rows; with the engine native it
// does what the database's own source does.
func (d *Django) Drill(ctx context.Context, s backup.Stored, r io.Reader, at backup.Scratch, t *backup.Task) (backup.Facts, error) {
	if d.native() {
		source, err := d.inner(ctx, t)
		if err != nil {
			return backup.Facts{}, err
		}
		return source.Drill(ctx, s, r, at, t)
	}
	dir := at.Dir
	if d.User != "" {
		// That user cannot reach what lies in our own data folder.
		if dir = filepath.Join(os.TempDir(), at.Name); at.Name == "" {
			return backup.Facts{}, fmt.Errorf("%w: a drill without a name", backup.ErrInvalid)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			return backup.Facts{}, err
		}
		defer os.RemoveAll(dir)
	}
	dumped := s.Facts.Rows
	s.Facts.Rows = nil // which the run compares, and would name
	loaded, err := d.scratch(ctx, s, r, dir, t)
	if err != nil {
		return backup.Facts{}, err
	}
	// The fixture does not know models without rows, and the scratch project has rows of its own of what is left out.
	maps.DeleteFunc(loaded.Rows, func(model string, _ int64) bool { _, ok := dumped[model]; return !ok })
	return backup.Facts{Checked: "loaded into a scratch SQLite database with the project's models, constraints checked", Rows: loaded.Rows}, nil
}

// SweepDrills removes the folders that killed drills of another user left, or has the database's own source remove what they
// left in it.
func (d *Django) SweepDrills(ctx context.Context, abandoned func(name string) bool, t *backup.Task) error {
	if !d.native() {
		return sweepScratch(os.TempDir(), abandoned)
	}
	source, err := d.inner(ctx, t)
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

// Verify reads a fixture to its end.
func (d *Django) Verify(ctx context.Context, p backup.Part, r io.Reader, t *backup.Task) (backup.Facts, error) {
	if d.native() {
		source, err := d.inner(ctx, t)
		if err != nil {
			return backup.Facts{}, err
		}
		return source.Verify(ctx, p, r, t)
	}
	format := d.loading("", backup.Stored{Part: p}).Format
	rows, err := readFixture(format, &contextReader{ctx, r})
	return backup.Facts{Checked: format + " read to its end, rows counted", Rows: rows}, err
}

// Examine asks the project, and looks at the database of the engine native.
func (d *Django) Examine(ctx context.Context, t *backup.Task) []backup.Diagnosis {
	project, err := d.project(ctx, t)
	if err != nil {
		return failing(err)
	}
	if len(project.Problems) > 0 {
		return failing(fmt.Errorf("%s: %s", d.Manage, strings.Join(project.Problems, "; ")))
	}
	list := []backup.Diagnosis{diagnosis(backup.LevelOK, "%s answers, Django %s on %s", d.Manage, project.Django, project.Vendor)}
	if d.Media {
		if _, err := d.mediaOf(project); err != nil {
			list = append(list, failing(err)...)
		}
	}
	if !d.native() {
		return list
	}
	source, err := d.source(project)
	if err != nil {
		return append(list, failing(err)...)
	}
	if examiner, ok := source.(backup.Examiner); ok {
		list = append(list, examiner.Examine(ctx, t)...)
	}
	return list
}

var (
	_ backup.Overwriter   = (*Django)(nil)
	_ backup.Driller      = (*Django)(nil)
	_ backup.DrillSweeper = (*Django)(nil)
	_ backup.Verifier     = (*Django)(nil)
	_ backup.Examiner     = (*Django)(nil)
)
