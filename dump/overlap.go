package dump

import (
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Whoever adds a job is told what of it another job saves already. Each Overlaps names what it and another source of its kind
// save both, for a person; it is empty when that is nothing, or cannot be told without asking a server.

// Overlaps compares the files of databases.
func (s *SQLite) Overlaps(other backup.Source) string {
	if o, ok := other.(*SQLite); ok && samePath(s.path, o.path) {
		return "database " + s.path
	}
	return ""
}

// Overlaps compares folders. One within the other is no overlap: it may have a schedule of its own.
func (f *Files) Overlaps(other backup.Source) string {
	if o, ok := other.(*Files); ok && samePath(f.folder, o.folder) {
		return "folder " + f.folder
	}
	return ""
}

// Overlaps is so for any two: there is one Caddy.
func (c *Caddy) Overlaps(other backup.Source) string {
	if _, ok := other.(*Caddy); ok {
		return "Caddy itself"
	}
	return ""
}

// Overlaps compares programs with all their arguments.
func (c *Command) Overlaps(other backup.Source) string {
	if o, ok := other.(*Command); ok && slices.Equal(c.Command, o.Command) && c.Dir == o.Dir {
		return "what the same command prints, " + c.Command[0] + ","
	}
	return ""
}

// Overlaps compares servers and databases. Two that each dump a part of a database are taken for different ones.
func (p *Postgres) Overlaps(other backup.Source) string {
	o, ok := other.(*Postgres)
	if !ok || p.partly() && o.partly() {
		return ""
	}
	one, err1 := newPgDatabase(p.dsn)
	two, err2 := newPgDatabase(o.dsn)
	if err1 != nil || err2 != nil {
		return ""
	}
	return databasesOf(p.AllDatabases, one.name, one.place, p.ExcludeDatabases).and(databasesOf(o.AllDatabases, two.name, two.place, o.ExcludeDatabases))
}

// partly reports whether only some of the tables are dumped.
func (p *Postgres) partly() bool { return len(p.Schemas)+len(p.Tables) > 0 }

// Overlaps compares servers and databases.
func (m *MySQL) Overlaps(other backup.Source) string {
	o, ok := other.(*MySQL)
	if !ok {
		return ""
	}
	one, err1 := parseMyDSN(m.dsn)
	two, err2 := parseMyDSN(o.dsn)
	if err1 != nil || err2 != nil {
		return ""
	}
	return databasesOf(m.AllDatabases, one.database, one.place(), m.ExcludeDatabases).and(databasesOf(o.AllDatabases, two.database, two.place(), o.ExcludeDatabases))
}

// databases are those that a source dumps: one of a server, or all but some.
type databases struct {
	all      bool
	name     string
	place    string
	excluded []string // patterns
}

func databasesOf(all bool, name, place string, excluded []string) databases {
	return databases{all, name, place, excluded}
}

func (a databases) and(b databases) string {
	switch {
	case a.place != b.place:
	case a.all && b.all:
		return "all databases on " + a.place
	case a.all && !a.without(b.name), !a.all && !b.all && a.name == b.name:
		return "database " + b.name + " on " + a.place
	case b.all && !a.all && !b.without(a.name):
		return "database " + a.name + " on " + a.place
	}
	return ""
}

func (a databases) without(name string) bool {
	return slices.ContainsFunc(a.excluded, func(p string) bool { match, _ := path.Match(p, name); return match })
}

// Overlaps compares projects, databases and apps. The own dump of the database holds all apps.
func (d *Django) Overlaps(other backup.Source) string {
	o, ok := other.(*Django)
	if !ok || d.alias() != o.alias() || !samePath(d.Manage, o.Manage) || d.Settings != o.Settings {
		return ""
	}
	switch both := d.common(o); {
	case both == nil:
		return ""
	case len(both) == 0:
		return "database " + d.alias() + " of " + d.Manage
	case len(both) == 1:
		return "app " + both[0] + " of " + d.Manage
	default:
		return "apps " + strings.Join(both, ", ") + " of " + d.Manage
	}
}

// common are the apps and models that both dump: nil when none, empty when all.
func (d *Django) common(o *Django) []string {
	switch {
	case len(d.Apps) == 0 && len(o.Apps) == 0:
		return []string{}
	case len(d.Apps) == 0:
		return o.common(d)
	}
	var both []string
	for _, label := range d.Apps {
		if o.dumps(label) {
			both = append(both, label)
		}
	}
	return both
}

// dumps reports whether an app or a model, or some of it, is in the fixture.
func (d *Django) dumps(label string) bool {
	within := func(a, b string) bool { return a == b || strings.HasPrefix(a, b+".") }
	if slices.ContainsFunc(d.Exclude, func(x string) bool { return within(label, x) }) {
		return false
	}
	return len(d.Apps) == 0 || slices.ContainsFunc(d.Apps, func(x string) bool { return within(label, x) || within(x, label) })
}

// samePath reports whether two paths lead to the same place.
func samePath(a, b string) bool {
	for _, p := range []*string{&a, &b} {
		if real, err := filepath.EvalSymlinks(*p); err == nil {
			*p = real
		}
	}
	return filepath.Clean(a) == filepath.Clean(b)
}
