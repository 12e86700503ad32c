package dump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Live is the path of manage.py, whatever database it leads to: that is not known without running it. Behind MEDIA_ROOT, which is not
// known either, stands what is meant in it.
func (d *Django) Live(s backup.Stored) string {
	if s.Folder {
		return strings.TrimSuffix(d.Manage+":MEDIA_ROOT/"+s.Sub, "/")
	}
	return d.Manage
}

// cascading is what is wrong with tables, which it names.
const cascading = "the server itself would delete or change rows of %s, which are in no dump, with those that a restore deletes first " +
	"(ON DELETE CASCADE or the like)"

// Ready asks the project and its database, or the database's own source.
func (d *Django) Ready(ctx context.Context, s backup.Stored, o backup.Over, t *backup.Task) error {
	if s.Folder {
		return d.readyMedia(ctx, s, o, t)
	}
	if d.native() {
		source, err := d.inner(ctx, t)
		if err != nil {
			return err
		}
		return source.Ready(ctx, s, o, t)
	}
	project, err := d.connected(ctx, t)
	if err != nil {
		return err
	}
	if dumped, found := strings.CutPrefix(s.Facts.Engine, "Django "); found && dumped != project.Django {
		t.Log.Warn("the fixture was made with another version of Django", "dumped", dumped, "now", project.Django)
	}
	if len(project.Cascades) > 0 && !d.Merge { // not to be forced: nobody could bring these rows back
		return fmt.Errorf("%w: "+cascading+": name their apps in the source too, or set merge, which deletes nothing", backup.ErrConflict,
			strings.Join(project.Cascades, ", "))
	}
	if o.Force {
		return nil
	}
	if len(project.Unsafe) > 0 {
		return fmt.Errorf("%w: tables %s know no transactions, so that nobody could undo a restore that fails: convert them with ALTER TABLE … "+
			"ENGINE=InnoDB, or force the restore", backup.ErrConflict, strings.Join(project.Unsafe, ", "))
	}
	if len(project.Unapplied) > 0 {
		return fmt.Errorf("%w: the project has migrations that its database has not seen, such as %s: run manage.py migrate first, or force "+
			"the restore", backup.ErrConflict, project.Unapplied[0])
	}
	return nil
}

// Overwrite loads the fixture in one transaction, in which what the apps hold, but for what is excluded, is deleted first, unless Merge is
// set, and the rows are counted last. Rows of other apps stay as they are; when they refer to something that is gone then, nothing is changed.
// No handler of the project hears of it.
func (d *Django) Overwrite(ctx context.Context, s backup.Stored, r io.Reader, o backup.Over, t *backup.Task) error {
	if d.native() {
		source, err := d.inner(ctx, t)
		if err != nil {
			return err
		}
		return source.Overwrite(ctx, s, r, o, t)
	}
	asked := d.loading("load", s)
	asked.Empty, asked.Force = !d.Merge, o.Force
	var answer djangoLoaded
	err := d.ask(ctx, t, asked, nil, nil, r, &answer)
	if errors.Is(err, backup.ErrIncomplete) {
		return fmt.Errorf("loading the fixture into %s: %w", d.Manage, err)
	}
	if err != nil {
		return fmt.Errorf("loading the fixture into %s, which was undone: %w", d.Manage, err)
	}
	return nil
}

// djangoLoaded is what ask.py answers when it has loaded a fixture.
type djangoLoaded struct {
	Rows map[string]int64 `json:"rows"`
}

func (d *Django) loading(what string, s backup.Stored) djangoAsked {
	return djangoAsked{What: what, Apps: d.Apps, Exclude: d.Exclude, Database: d.alias(), Format: d.formatOf(s.Part), Empty: true, Rows: s.Facts.Rows}
}

// formatOf is the format of a fixture that may have been dumped with other settings.
func (d *Django) formatOf(p backup.Part) string {
	if format := strings.TrimPrefix(filepath.Ext(p.Name), "."); fixtures[format] != "" {
		return format
	}
	return d.format()
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
	format := d.formatOf(p)
	rows, err := readFixture(format, &contextReader{ctx, r})
	return backup.Facts{Checked: format + " read to its end, rows counted", Rows: rows}, err
}

var (
	_ backup.Overwriter = (*Django)(nil)
	_ backup.Verifier   = (*Django)(nil)
)
