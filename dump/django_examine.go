package dump

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/caddy-backup/caddy-backup/backup"
)

// Examine asks the project what it is, and whether each model can be read; of the engine native it examines the source that dumps
// the database.
func (d *Django) Examine(ctx context.Context, t *backup.Task) []backup.Diagnosis {
	project, err := d.told(ctx, t, djangoAsked{Secrets: d.native(), Connect: !d.native(), Look: !d.native()})
	if err != nil {
		return failing(err)
	}
	list := []backup.Diagnosis{diagnosis(backup.LevelOK, "Django %s on %s answers, by %s", project.Django, project.Vendor, d.interpreter())}
	for _, problem := range project.Problems {
		list = append(list, diagnosis(backup.LevelError, "%s: %s", d.Manage, problem))
	}
	for _, note := range project.concerns() {
		list = append(list, diagnosis(backup.LevelNote, "%s", note))
	}
	if d.native() && len(project.Problems) == 0 {
		list = append(list, d.examineNative(ctx, project, t)...)
	}
	if d.Media {
		media, err := d.mediaOf(project)
		if err != nil {
			return append(list, failing(err)...)
		}
		list = append(list, media.Examine(ctx, t)...)
		if doubt := project.doubtMedia(); doubt != "" {
			list = append(list, diagnosis(backup.LevelWarning, "media: %s", doubt))
		}
	}
	return list
}

func (d *Django) examineNative(ctx context.Context, project djangoProject, t *backup.Task) []backup.Diagnosis {
	source, err := d.source(project)
	if err != nil {
		return failing(err)
	}
	x, ok := source.(backup.Examiner)
	if !ok {
		return []backup.Diagnosis{diagnosis(backup.LevelNote, "its database cannot be examined: the next run will show")}
	}
	return x.Examine(ctx, t)
}

// interpreter is the Python as it is asked for.
func (d *Django) interpreter() string {
	if d.Virtualenv != "" {
		return filepath.Join(d.Virtualenv, "bin", "python")
	}
	return cmp.Or(d.Python, "python3")
}

// explain says why a project does not answer, as far as the end of what it said tells, and what to do. The rest of that is not
// repeated: it may hold anything.
func (d *Django) explain(err error) error {
	said := backup.OutputOf(err)
	python := d.interpreter()
	if path, missing := findProgram(python); missing == nil {
		python = path
	}
	for _, h := range djangoHints {
		if m := h.words.FindStringSubmatch(said); m != nil {
			return fmt.Errorf("%w: %s", err, h.way(d, python, m))
		}
	}
	if said == "" {
		return err
	}
	return fmt.Errorf("%w; to see why: cd %s && %s manage.py check", err, filepath.Dir(d.Manage), python)
}

var damagedSQLite = regexp.MustCompile(`database disk image is malformed|file is not a database`)

const restoreSQLite = "its SQLite database is damaged: restore the last good backup"

// hintDamaged adds to the error of a dump what most needs to be told, and nothing else of what the project said.
func hintDamaged(err error) error {
	if damagedSQLite.MatchString(backup.OutputOf(err)) {
		return fmt.Errorf("%w: %s", err, restoreSQLite)
	}
	return err
}

type djangoHint struct {
	words *regexp.Regexp
	way   func(d *Django, python string, m []string) string
}

const nameVirtualenv = "name the project's own Python with virtualenv <folder> or python <path>"

// djangoHints are the ways in which a project does not begin. What was found in the text are names of modules, of variables and
// of files.
var djangoHints = []djangoHint{
	{damagedSQLite, func(*Django, string, []string) string { return restoreSQLite }},
	{regexp.MustCompile(`Couldn't import Django|No module named '?django('|\.|$|\n)`), func(_ *Django, python string, _ []string) string {
		return fmt.Sprintf("Django cannot be imported by %s: %s, or install it there: %s -m pip install django", python, nameVirtualenv, python)
	}},
	{regexp.MustCompile(`No module named '?([\w.]+)`), func(d *Django, python string, m []string) string {
		if d.Settings == m[1] || strings.HasPrefix(d.Settings, m[1]+".") {
			return fmt.Sprintf("the settings module %s cannot be imported: correct settings in the source", d.Settings)
		}
		return fmt.Sprintf("the module %s cannot be imported by %s: %s, or install what is missing there", m[1], python, nameVirtualenv)
	}},
	{regexp.MustCompile(`Error loading (\w+)[\w ]* module`), func(_ *Django, python string, m []string) string {
		return fmt.Sprintf("%s has no driver %s for the project's database: %s, or install it there", python, m[1], nameVirtualenv)
	}},
	{regexp.MustCompile(`KeyError: '(\w+)'`), needsVariable},
	{regexp.MustCompile(`Set the (\w+) environment variable`), needsVariable},
	{regexp.MustCompile(`(\w+) not found\. Declare it as envvar`), needsVariable},
	{regexp.MustCompile(`PermissionError: [^\n]*: '([^'\n]+)'`), func(d *Django, _ string, m []string) string {
		return fmt.Sprintf("user %s may not use %s: let it, or name the project's own user with user <name>", cmp.Or(d.User, userName()), m[1])
	}},
	{regexp.MustCompile(`(?:^|[.\n])OperationalError: ([^\n]+)`), func(d *Django, _ string, m []string) string {
		return fmt.Sprintf("its database %s cannot be used: %s; put DATABASES right, or start the server", d.alias(), clean([]byte(m[1])))
	}},
	{regexp.MustCompile(`SyntaxError:`), func(_ *Django, python string, _ []string) string {
		return fmt.Sprintf("%s does not understand the project, as one that is too old or too new: %s", python, nameVirtualenv)
	}},
}

func needsVariable(_ *Django, _ string, m []string) string {
	return fmt.Sprintf("the project wants the variable %s, as its server has it: add to the source a line such as: env %s {env.%s}", m[1], m[1], m[1])
}

var _ backup.Examiner = (*Django)(nil)
