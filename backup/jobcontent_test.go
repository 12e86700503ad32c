package backup_test

import (
	"errors"
	"io"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/repo"
)

// Who may have a job's backups has those that it made on this host: not another job's, nor those that a job of the same
// name made on another host, in the same repository.
func TestOpenOf(t *testing.T) {
	here := backuptest.New(t, func(c *backup.Config) {
		c.Jobs = append(c.Jobs, backup.Job{Name: "blog", Sources: []backup.NamedSource{{Name: "db", Kind: "fake", Source: backuptest.NewSource("blog")}}},
			backup.Job{Name: "new", Sources: []backup.NamedSource{{Name: "db", Kind: "fake", Source: backuptest.NewSource("new")}}})
	})
	there := backuptest.New(t, func(c *backup.Config) {
		c.Host = "other-server"
		c.Repositories[0].Storage = here.Storage
	})
	here.DB.Set("here")
	there.DB.Set("there")
	mine, blog, theirs := here.Backed(t, "shop"), here.Backed(t, "blog"), there.Backed(t, "shop")

	for _, id := range []string{"latest", mine.ID, mine.StableID, mine.ID[:10]} {
		f, err := here.OpenOf(t.Context(), "shop", id, "db.sql")
		if err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		if data, err := io.ReadAll(f); string(data) != "here" || err != nil {
			t.Errorf("%s: %q, %v", id, data, err)
		}
		f.Close()
	}
	for _, c := range []struct{ job, id, path string }{
		{"shop", theirs.ID, "db.sql"}, {"shop", blog.ID, "db.sql"}, {"blog", mine.ID, "db.sql"}, {"new", "latest", "db.sql"},
		{"nosuch", "latest", "db.sql"}, {"shop", "nosuch", "db.sql"}, {"shop", "", "db.sql"}, {"shop", "latest", "nosuch"},
		{"shop", blog.ID, "../blog/db.sql"}, {"shop", "latest", "/shop/db.sql"},
	} {
		f, err := here.OpenOf(t.Context(), c.job, c.id, c.path)
		if !errors.Is(err, backup.ErrNotFound) && !errors.Is(err, repo.ErrNotFound) {
			t.Errorf("%+v: %v", c, err)
		}
		if err == nil {
			f.Close()
		}
	}
}
