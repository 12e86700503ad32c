package backup_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"unicode/utf8"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
)

// onDisk is a source that says where it lies.
type onDisk struct {
	*backuptest.Source
	path string
}

func (o onDisk) LocalPaths() []string { return []string{o.path} }

// elsewhere is a storage in memory that says that it is elsewhere.
type elsewhere struct {
	*storage.Memory
	at string
}

func (e elsewhere) Location() string { return e.at }

func TestKit(t *testing.T) {
	dir := t.TempDir() + "/repository"
	e := newPlace(t, storage.NewLocal(dir), func(c *backup.Config) {
		c.Jobs[0].Sources[0] = backup.NamedSource{Name: "db", Kind: "postgres", Source: onDisk{backuptest.NewSource("x"), t.TempDir()}}
		c.Jobs[0].Sources = append(c.Jobs[0].Sources,
			backup.NamedSource{Name: "media", Kind: "files", Source: backuptest.Folder{"a": "b"}},
			backup.NamedSource{Name: "small", Kind: "sqlite", Source: backuptest.NewSource("y")},
			backup.NamedSource{Name: "ldap", Kind: "command", Source: backuptest.NewSource("z")},
			backup.NamedSource{Name: "server", Kind: "caddy", Source: backuptest.Folder{"a": "b"}},
			backup.NamedSource{Name: "new", Kind: "other", Source: backuptest.NewSource("z")})
		c.Repositories = append(c.Repositories, backup.RepositoryConfig{
			Name: "second one", Storage: elsewhere{new(storage.Memory), "/mnt/my disk"}, Password: []byte(canaryPassword), PasswordFrom: "the file /run/pw",
		})
	})
	e.Backed(t, "shop")
	kit := must(e.Kit(t.Context(), ""))(t)
	if len(kit.Repositories) != 2 || len(kit.Repositories[0].ID) != 64 || kit.Repositories[0].Version != 2 || kit.Repositories[1].Problem == "" {
		t.Fatalf("%+v", kit)
	}
	if same := kit.Repositories[0].SameDisk; len(same) != 1 || same[0] != "source db of job shop" {
		t.Errorf("on the same disk: %q", same)
	}
	text := kit.Text(nil)
	t.Log(text)
	for _, want := range []string{
		"caddy backup recover " + dir, "restic 0.14 or newer", "restore latest", "--path /shop", "psql -X", "'/mnt/my disk'",
		"sqlite3", "media/", "Caddy itself, as server/", kit.Repositories[0].ID, kit.Repositories[0].PasswordFile, "the file /run/pw", "____", "same disk", "sha256sum -c SHA256SUMS",
	} {
		if !strings.Contains(text, want) && !strings.Contains(strings.Join(strings.Fields(text), " "), want) {
			t.Errorf("the kit does not say %q", want)
		}
	}
	password := strings.TrimSpace(string(must(os.ReadFile(kit.Repositories[0].PasswordFile))(t)))
	if strings.Contains(text, password) || strings.Contains(text, canaryPassword) {
		t.Error("a password is printed")
	}
	for line := range strings.Lines(text) {
		if line = strings.TrimSuffix(line, "\n"); utf8.RuneCountInString(line) > 80 && strings.Contains(strings.TrimSpace(line), " ") &&
			!strings.Contains(line, "/") {
			t.Errorf("too wide: %q", line)
		}
	}
	if text := kit.Text(map[string]string{"default": password}); !strings.Contains(text, password) || strings.Count(text, "____") == 0 {
		t.Error("the password was wanted, and only for one repository")
	}
	if _, err := e.Kit(t.Context(), "nosuch"); !errors.Is(err, backup.ErrNotFound) {
		t.Error(err)
	}
}

// TestKitIsAskedFor until it is confirmed, and again when the password changes.
func TestKitIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		e := newPlace(t, new(storage.Memory), func(c *backup.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		missing := func() bool { t.Helper(); return must(e.Repositories(t.Context()))(t)[0].KitMissing }
		atStart := func() bool {
			t.Helper()
			synctest.Wait() // nobody writes while we read
			log.Reset()
			e.Detach()
			e.Detach = must(e.Attach(e.Config))(t)
			synctest.Wait()
			return strings.Contains(log.String(), "caddy backup kit --confirm")
		}
		if missing() || atStart() {
			t.Error("asked for before there is a repository")
		}
		if err := e.ConfirmKit(t.Context(), "tester", ""); !errors.Is(err, repo.ErrNoRepository) {
			t.Error(err)
		}
		e.Backed(t, "shop")
		if !missing() || !atStart() {
			t.Error("not asked for")
		}
		for _, change := range []func(){
			func() {},
			func() { keysChanged(t, e)(e.ChangePassword(t.Context(), "tester", "", nil)) },
			func() { keysChanged(t, e)(e.AddKey(t.Context(), "tester", "", []byte("another"))) },
		} {
			change()
			if !missing() || !atStart() {
				t.Error("not asked for")
			}
			if err := e.ConfirmKit(t.Context(), "tester", ""); err != nil {
				t.Fatal(err)
			}
			e.Backed(t, "shop")
			if missing() || atStart() {
				t.Error("asked for although it was confirmed")
			}
		}
	})
}

// TestFormOf: whatever a source makes, the kit and recover know which program brings it back.
func TestFormOf(t *testing.T) {
	for _, x := range []struct {
		kind, part string
		want       backup.Form
	}{
		{"postgres", "db.dump", backup.FormArchive},
		{"postgres", "db.shop.dump", backup.FormArchive},
		{"postgres", "db.sql", backup.FormPostgres},
		{"postgres", "db.globals-only.sql", backup.FormRoles},
		{"mysql", "db.sql", backup.FormMySQL},
		{"mysql", "db.globals-only.sql", backup.FormUsers},
		{"sqlite", "db.sqlite3", backup.FormSQLite},
		{"django", "db.json", backup.FormFixture},
		{"django", "db.xml", backup.FormFixture},
		{"django", "db.sqlite3", backup.FormSQLite},
		{"django", "db.dump", backup.FormArchive},
		{"django", "db.sql", backup.FormMySQL},
		{"command", "db.sql", backup.FormOther},
	} {
		if got := backup.FormOf(x.kind, backup.Part{Name: x.part}); got != x.want {
			t.Errorf("%s, %s: %s, want %s", x.kind, x.part, got, x.want)
		}
	}
	if got := backup.FormOf("django", backup.Part{Name: "site-media", Folder: true}); got != backup.FormFolder {
		t.Error(got)
	}
}
