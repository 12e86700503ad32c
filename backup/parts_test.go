package backup_test

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/repo"
)

// partsSource says what its parts are; their content is their name.
type partsSource struct {
	parts func() ([]backup.Part, error)
}

func (s partsSource) Parts(context.Context, string) ([]backup.Part, error) { return s.parts() }

func (s partsSource) Dump(_ context.Context, p backup.Part, w io.Writer, _ *backup.Task) (backup.Facts, error) {
	_, err := io.WriteString(w, p.Name)
	return backup.Facts{Notes: []string{"a note"}}, err
}

func (s partsSource) Restore(context.Context, backup.Part, io.Reader, string, *backup.Task) error {
	return errors.New("not asked for")
}

func parts(names ...string) func() ([]backup.Part, error) {
	return func() (all []backup.Part, err error) {
		for _, name := range names {
			all = append(all, backup.Part{Name: name})
		}
		return all, nil
	}
}

// badFolder fails where it is told to.
type badFolder struct {
	backuptest.Folder
	root, dump error
}

func (f badFolder) Root(backup.Part) (repo.Node, error) { return repo.Node{Mode: os.ModeDir}, f.root }

func (f badFolder) DumpFolder(_ context.Context, _ backup.Part, dir *repo.Dir, _ *backup.Task) (backup.Facts, error) {
	w, err := dir.Create(repo.Node{Name: "x"})
	if err == nil {
		_, err = io.WriteString(w, "half of it")
	}
	if f.dump == nil && err == nil {
		return backup.Facts{}, nil // x was not closed
	}
	return backup.Facts{}, errors.Join(f.dump, err)
}

func TestParts(t *testing.T) {
	cases := map[string]struct {
		source backup.Source
		want   string // "" = ok
	}{
		"several":         {partsSource{parts("a", "b", "z")}, ""},
		"none":            {partsSource{parts()}, "source x: it has nothing to dump"},
		"twice":           {partsSource{parts("a", "a")}, "source x: its part a has the name of one of source x"},
		"other source's":  {partsSource{parts("db.sql")}, "its part db.sql has the name of one of source db: rename the source"},
		"reserved":        {partsSource{parts("manifest.json")}, "its part manifest.json has the name of one of every snapshot: rename the source, or what names its file (`file` of a command)"},
		"reserved sums":   {partsSource{parts("SHA256SUMS")}, "its part SHA256SUMS has"},
		"slash":           {partsSource{parts("a/b")}, `"a/b" cannot be the name of a part`},
		"up":              {partsSource{parts("..")}, `".." cannot be the name of a part`},
		"empty name":      {partsSource{parts("")}, `"" cannot be the name of a part`},
		"error":           {partsSource{func() ([]backup.Part, error) { return nil, errors.New("no such database") }}, "source x: no such database"},
		"panic":           {partsSource{func() ([]backup.Part, error) { panic("oh") }}, "source x: panic: oh"},
		"folder":          {backuptest.Folder{"a": "b"}, ""},
		"empty folder":    {backuptest.Folder{}, ""},
		"folder root":     {badFolder{root: errors.New("no permission")}, "x (source x): no permission"},
		"folder fails":    {badFolder{dump: errors.New("input/output error")}, "x (source x): input/output error"},
		"folder not done": {badFolder{}, "was not closed"},
		"no folder":       {partsSource{func() ([]backup.Part, error) { return []backup.Part{{Name: "f", Folder: true}}, nil }}, "cannot dump folders"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := backuptest.New(t, func(config *backup.Config) {
					config.Jobs[0].Sources = append(config.Jobs[0].Sources, backup.NamedSource{Name: "x", Kind: "odd", Source: c.source})
				})
				run := e.RunBackup(t, "shop")
				if c.want == "" {
					if run.State != backup.StateOK {
						t.Errorf("%+v", run)
					}
					return
				}
				if run.State != backup.StateFailed || !strings.Contains(run.Error, c.want) {
					t.Errorf("%+v", run)
				}
				requireSnapshots(t, e, 0)
				requireUnlocked(t, e.Storage)
			})
		})
	}
}

func TestNotes(t *testing.T) {
	e := backuptest.New(t, func(c *backup.Config) {
		c.Jobs[0].Sources = []backup.NamedSource{{Name: "x", Kind: "odd", Source: partsSource{parts("a")}}}
	})
	s := e.Backed(t, "shop")
	if notes := s.Manifest.Parts[0].Notes; len(notes) != 1 || notes[0] != "a note" || s.Manifest.Parts[0].Media != "application/octet-stream" {
		t.Errorf("%+v", s.Manifest)
	}
	if run := must(e.Service.Run(t.Context(), s.Run))(t); !strings.Contains(logOf(run), "WARN a note part=a") {
		t.Error(logOf(run))
	}
}
