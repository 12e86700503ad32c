package dump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-backup/caddy-backup/backup"
)

func init() { caddy.RegisterModule(new(Django)) }

// Django dumps the data of a Django project: as a fixture, by "manage.py dumpdata", which fits any database and any version of
// it but holds rows only; or, with the engine native, by the own dump of the database that the project's DATABASES names, which
// holds everything. manage.py and what it imports are run: the source trusts the project as the project's own server does.
type Django struct {
	// Manage is the path of manage.py, absolute. It is run in its folder.
	Manage string `json:"manage,omitempty"`
	// Engine is "dumpdata" or "native"; default dumpdata.
	Engine string `json:"method,omitempty"` // "engine" names the source itself
	// Apps are the apps, or models as app.Model, that are dumped; default all. Exclude are left out. Only of dumpdata.
	Apps    []string `json:"apps,omitempty"`
	Exclude []string `json:"exclude,omitempty"`
	// Format is "json", "jsonl", "xml" or "yaml"; default json. Indent is by how many spaces lines are indented, default 4; 0
	// writes no line breaks. Only of dumpdata.
	Format string `json:"format,omitempty"`
	Indent *int   `json:"indent,omitempty"`
	// NaturalKeys refers to rows by their natural keys where models have them, not by numbers. Only of dumpdata.
	NaturalKeys bool `json:"natural_keys,omitempty"`
	// Merge has a restore over the live database load the fixture over what the apps hold; else that is deleted first.
	Merge bool `json:"merge,omitempty"`
	// Database is the alias in DATABASES; default "default".
	Database string `json:"database,omitempty"`
	// Media saves MEDIA_ROOT too, as a folder.
	Media bool `json:"media,omitempty"`

	// Python is the interpreter, default python3 from PATH; Virtualenv the folder of the environment that has it.
	Python     string `json:"python,omitempty"`
	Virtualenv string `json:"virtualenv,omitempty"`
	// Settings is the settings module, default what manage.py says.
	Settings string `json:"settings,omitempty"`
	// User is as whom manage.py is run, when that is somebody else; only root can do that.
	User string `json:"user,omitempty"`
	// Env is more environment for manage.py: of ours it gets PATH, HOME, language and time zone only. Placeholders are replaced.
	Env map[string]string `json:"env,omitempty"`

	env  []string // resolved: secret
	skip skipped  // of MEDIA_ROOT
}

const (
	engineDumpdata, engineNative = "dumpdata", "native"
	defaultAlias                 = "default"
	defaultIndent                = 4
)

// fixtures are the formats of dumpdata, with their MIME types.
var fixtures = map[string]string{
	"json": "application/json", "jsonl": "application/jsonl", "xml": "application/xml", "yaml": "application/yaml",
}

// CaddyModule tells Caddy about the source.
func (*Django) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: namespace + "django", New: func() caddy.Module { return new(Django) }}
}

// Provision replaces the placeholders.
func (d *Django) Provision(caddy.Context) (err error) {
	d.env, err = resolveEnv(d.Env)
	return err
}

// Validate checks the settings. The project itself is asked when it is dumped.
func (d *Django) Validate() error {
	if d.Manage == "" {
		return errors.New("django is missing the path of its manage.py")
	}
	for name, path := range map[string]string{"manage.py": d.Manage, "virtualenv": d.Virtualenv} {
		if path != "" && !filepath.IsAbs(path) {
			return fmt.Errorf("%s '%s' is not an absolute path", name, path)
		}
	}
	if d.Python != "" && strings.Contains(d.Python, "/") && !filepath.IsAbs(d.Python) {
		return fmt.Errorf("python '%s' is neither an absolute path nor a name to be found in PATH", d.Python)
	}
	switch {
	case d.Python != "" && d.Virtualenv != "":
		return errors.New("python and virtualenv: either of them says which interpreter")
	case d.Engine != "" && d.Engine != engineDumpdata && d.Engine != engineNative:
		return fmt.Errorf("bad engine value '%s': must be dumpdata or native", d.Engine)
	case d.native() && (len(d.Apps)+len(d.Exclude) > 0 || d.Format != "" || d.Indent != nil || d.NaturalKeys || d.Merge):
		return errors.New("apps, exclude, format, indent, natural_keys and merge are of the engine dumpdata; native dumps the whole database")
	case d.Format != "" && fixtures[d.Format] == "":
		return fmt.Errorf("bad format value '%s': must be json, jsonl, xml or yaml", d.Format)
	case d.Indent != nil && (*d.Indent < 0 || *d.Indent > 16):
		return fmt.Errorf("bad indent value '%d': must be a number from 0 to 16", *d.Indent)
	}
	for _, label := range slices.Concat(d.Apps, d.Exclude, []string{d.alias()}) {
		if label == "" || strings.HasPrefix(label, "-") || strings.ContainsAny(label, "{}/\n\x00 ") {
			return fmt.Errorf("'%s' cannot be the name of an app, a model or a database", label)
		}
	}
	return checkEnv(d.Env)
}

func (d *Django) native() bool { return d.Engine == engineNative }

func (d *Django) alias() string {
	if d.Database == "" {
		return defaultAlias
	}
	return d.Database
}

func (d *Django) format() string {
	if d.Format == "" {
		return "json"
	}
	return d.Format
}

// Parts is the fixture, or what the database's own source says; with Media the folder too. Without either of the last two nobody
// is asked.
func (d *Django) Parts(ctx context.Context, name string) (parts []backup.Part, err error) {
	parts = []backup.Part{{Name: name + "." + d.format(), Media: fixtures[d.format()]}}
	if !d.native() && !d.Media {
		return parts, nil
	}
	project, err := d.project(ctx, nil)
	if err != nil {
		return nil, err
	}
	if d.native() {
		source, err := d.source(project)
		if err != nil {
			return nil, err
		}
		if parts, err = source.Parts(ctx, name); err != nil {
			return nil, err
		}
	}
	if d.Media {
		if _, err := d.mediaOf(project); err != nil {
			return nil, err
		}
		parts = append(parts, backup.Part{Name: name + "-media", Folder: true})
	}
	return parts, nil
}

// Dump runs dumpdata in one transaction, so that the fixture is of one moment, and reads it along; or has the database's own source
// dump.
func (d *Django) Dump(ctx context.Context, p backup.Part, w io.Writer, t *backup.Task) (backup.Facts, error) {
	if d.native() {
		source, err := d.inner(ctx, t)
		if err != nil {
			return backup.Facts{}, err
		}
		return source.Dump(ctx, p, w, t)
	}
	project, err := d.connected(ctx, t)
	if err != nil {
		return backup.Facts{}, err
	}
	program, _, err := d.asking(d.dumpdata(project), nil, nil)
	if err != nil {
		return backup.Facts{}, err
	}
	rows, err := dumpAlong(ctx, t, program, w, func(r io.Reader) (map[string]int64, error) { return readFixture(d.format(), r) })
	if err != nil {
		return backup.Facts{}, fmt.Errorf("dumpdata of %s: %w", d.Manage, hintDamaged(err))
	}
	return backup.Facts{
		Engine: "Django " + project.Django, Tool: "manage.py dumpdata", Rows: rows,
		Source:  d.what() + " of " + d.Manage,
		Checked: d.format() + " read to its end, rows counted",
		Notes:   project.concerns(),
	}, nil
}

// concerns are things that a person should know about what dumpdata saves.
func (p djangoProject) concerns() (notes []string) {
	if len(p.Views) > 0 {
		notes = append(notes, "models on views of the database are left out, nobody could put their rows back: "+strings.Join(p.Views, ", "))
	}
	if len(p.Unsafe) > 0 {
		notes = append(notes, "tables without transactions may be of another moment than the rest: "+strings.Join(p.Unsafe, ", "))
	}
	if len(p.Unapplied) > 0 {
		notes = append(notes, "there are migrations that were not applied: "+strings.Join(p.Unapplied, ", "))
	}
	if len(p.Cascades) > 0 {
		notes = append(notes, "a restore over the live one would be refused: "+fmt.Sprintf(cascading, strings.Join(p.Cascades, ", ")))
	}
	if p.Journal != "" && p.Journal != "wal" {
		notes = append(notes, "writers wait while dumpdata reads, because the SQLite database is not in WAL mode")
	}
	return notes
}

func (d *Django) dumpdata(p djangoProject) djangoAsked {
	asked := djangoAsked{What: "dump", Apps: d.Apps, Exclude: append(slices.Clone(d.Exclude), p.Views...), Database: d.alias(),
		Format: d.format(), Natural: d.NaturalKeys, Indent: defaultIndent}
	if d.Indent != nil {
		asked.Indent = *d.Indent
	}
	if d.format() == "jsonl" {
		asked.Indent = 0
	}
	return asked
}

// what is dumped, for messages.
func (d *Django) what() string {
	if len(d.Apps) == 0 {
		return "all apps"
	}
	return "apps " + strings.Join(d.Apps, ", ")
}

// Interface guards
var (
	_ backup.Source     = (*Django)(nil)
	_ caddy.Provisioner = (*Django)(nil)
	_ caddy.Validator   = (*Django)(nil)
)
