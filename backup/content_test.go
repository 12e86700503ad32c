package backup_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

func TestSnapshots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, first := newShop(t)
		foreign := foreignSnapshot(t, e)
		time.Sleep(time.Minute)
		e.DB.Set("more")
		second := e.Backed(t, "shop")

		list := must(e.Snapshots(t.Context(), backup.SnapshotQuery{}))(t)
		if list.Total != 3 || list.Snapshots[0].ID != second.ID || list.Snapshots[1].ID != foreign || list.Snapshots[2].ID != first.ID {
			t.Fatalf("%+v", list)
		}
		if s := list.Snapshots[1]; s.Job != "" || s.Run != "" || s.Host != "web1" || s.Paths[0] != "/etc" || s.Tags[0] != "system" {
			t.Errorf("%+v", s)
		}
		if list := must(e.Snapshots(t.Context(), backup.SnapshotQuery{Job: "shop", Offset: 1, Limit: 5}))(t); list.Total != 2 || len(list.Snapshots) != 1 || list.Snapshots[0].ID != first.ID {
			t.Errorf("%+v", list)
		}
		if list := must(e.Snapshots(t.Context(), backup.SnapshotQuery{Offset: 7}))(t); list.Total != 3 || len(list.Snapshots) != 0 {
			t.Errorf("%+v", list)
		}
		for name, want := range map[string]string{first.ID: first.ID, first.ID[:10]: first.ID, "latest": second.ID} {
			if s := must(e.Snapshot(t.Context(), "default", name, "shop"))(t); s.ID != want || s.StableID != want {
				t.Errorf("%s: %+v", name, s)
			}
		}
		if s := must(e.Snapshot(t.Context(), "", foreign, ""))(t); len(s.Parts) != 1 || s.Parts[0].Path != "/etc" || s.Manifest != nil {
			t.Errorf("%+v", s)
		}
		for _, name := range []string{"", "zzzz", strings.Repeat("0", 64)} {
			if _, err := e.Snapshot(t.Context(), "", name, ""); !errors.Is(err, repo.ErrNotFound) {
				t.Errorf("%q: %v", name, err)
			}
		}
		if _, err := e.Snapshot(t.Context(), "offsite", "latest", ""); !errors.Is(err, backup.ErrNotFound) || !strings.Contains(err.Error(), "there are: default") {
			t.Error(err)
		}

		// One that cannot be read is named, and the others are there.
		storagetest.Flip(t, e.Storage, "snapshots/"+first.ID, 200)
		list = must(reopen(t, e).Snapshots(t.Context(), backup.SnapshotQuery{}))(t)
		if list.Total != 2 || !strings.Contains(list.Damaged, first.ID) {
			t.Errorf("%+v", list)
		}
	})
}

func TestList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, s := newShop(t)
		paths := func(list []backup.Content) string {
			var all []string
			for _, c := range list {
				all = append(all, c.Path)
			}
			return strings.Join(all, " ")
		}
		for path, want := range map[string]string{
			"":        "/shop",
			"/":       "/shop",
			"/shop":   "/shop/SHA256SUMS /shop/db.sql /shop/manifest.json /shop/media",
			"shop/":   "/shop/SHA256SUMS /shop/db.sql /shop/manifest.json /shop/media",
			"media":   "/shop/media/2.jpg /shop/media/a /shop/media/new\nline",
			"media/a": "/shop/media/a/1.jpg",
		} {
			if got := paths(must(e.List(t.Context(), "", s.ID, path))(t)); got != want {
				t.Errorf("%q: %s", path, got)
			}
		}
		list := must(e.List(t.Context(), "", s.ID, "/shop"))(t)
		if db := list[1]; db.SHA256 != repo.Hash([]byte("create table customer;\n")).String() || db.Mode != "-rw-r--r--" || db.Type != "file" || db.Size != 23 || db.Time.IsZero() {
			t.Errorf("%+v", db)
		}
		if media := list[3]; media.Type != "dir" || media.Mode != "drwxr-x---" {
			t.Errorf("%+v", media)
		}
		for path, want := range map[string]error{"nothing": repo.ErrNotFound, "db.sql": repo.ErrNotFolder, "db.sql/x": repo.ErrNotFolder, "../x": repo.ErrNotFound} {
			if _, err := e.List(t.Context(), "", s.ID, path); !errors.Is(err, want) {
				t.Errorf("%s: %v", path, err)
			}
		}
	})
}

func TestOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, s := newShop(t)
		cases := []struct{ path, media, filename, content string }{
			{"db.sql", "application/sql", "shop_" + s.Time.UTC().Format("2006-01-02_15-04-05") + "Z.db.sql", "create table customer;\n"},
			{"/shop/media/2.jpg", "application/octet-stream", "2.jpg", "two"},
			{"manifest.json", "application/json", "manifest.json", ""},
			{"SHA256SUMS", "text/plain; charset=utf-8", "SHA256SUMS", ""},
		}
		tags := map[string]bool{}
		for _, c := range cases {
			o := must(e.Open(t.Context(), "", s.ID, c.path))(t)
			data := must(io.ReadAll(o))(t)
			if err := o.Close(); err != nil {
				t.Error(err)
			}
			if o.Media != c.media || o.Filename != c.filename || c.content != "" && string(data) != c.content || o.File.Size() != int64(len(data)) {
				t.Errorf("%+v: %q", o, data)
			}
			if len(o.Version) != 64 || tags[o.Version] || o.Snapshot.ID != s.ID {
				t.Errorf("%+v", o)
			}
			tags[o.Version] = true
		}
		// The same content has the same ETag in the next snapshot.
		next := e.Backed(t, "shop")
		for _, path := range []string{"db.sql", "media/2.jpg"} {
			o := must(e.Open(t.Context(), "", next.ID, path))(t)
			o.Close()
			if !tags[o.Version] {
				t.Errorf("%s: %s", path, o.Version)
			}
		}
		for path, want := range map[string]error{"nothing": repo.ErrNotFound, "media": repo.ErrIsFolder, "": repo.ErrIsFolder} {
			if _, err := e.Open(t.Context(), "", s.ID, path); !errors.Is(err, want) {
				t.Errorf("%s: %v", path, err)
			}
		}
	})
}

// TestOthersWrote reads what another process wrote after this one had loaded its index.
func TestOthersWrote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, s := newShop(t)
		if got := string(e.Read(t, s.ID, "db.sql")); got == "" {
			t.Fatal("nothing")
		}
		other := reopen(t, e)
		e.DB.Set("written by another process")
		theirs := other.Backed(t, "shop")
		if got := string(e.Read(t, theirs.ID, "db.sql")); got != "written by another process" {
			t.Errorf("%q", got)
		}
		requireSnapshots(t, e, 2)
	})
}

// TestPartNamedAsJob: a path without a slash in front means the part.
func TestPartNamedAsJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := backuptest.New(t, func(c *backup.Config) {
			c.Jobs[0].Sources = append(c.Jobs[0].Sources, backup.NamedSource{Name: "shop", Kind: "fake", Source: backuptest.Folder{"x": "y"}})
		})
		s := e.Backed(t, "shop")
		if list := must(e.List(t.Context(), "", s.ID, "shop"))(t); len(list) != 1 || list[0].Path != "/shop/shop/x" {
			t.Errorf("%+v", list)
		}
		if list := must(e.List(t.Context(), "", s.ID, "/shop"))(t); len(list) != 4 {
			t.Errorf("%+v", list)
		}
	})
}
