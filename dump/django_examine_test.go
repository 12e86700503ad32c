package dump

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
)

// testDjangoExamined breaks one thing at a time: what is said names the way out, and nothing of what the project has printed.
func testDjangoExamined(t *testing.T, s *djangoSite) {
	bare := filepath.Join(t.TempDir(), "python") // one that has nothing installed
	if err := os.WriteFile(bare, []byte("#!/bin/sh\nexec "+s.python+" -S -I \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		words string
		level backup.Level
		want  string
	}{
		{"", backup.LevelNote, "on sqlite answers, by " + s.python},
		{"engine native", backup.LevelNote, "db.sqlite3"},
		{"media", backup.LevelNote, "media can be read, 1 entry"},
		{"media\nenv SITE_STORAGE storages.backends.s3.S3Storage", backup.LevelWarning, "go to the storage storages.backends.s3.S3Storage, which is not saved"},
		{"python " + bare, backup.LevelError, "Django cannot be imported by " + bare + ": name the project's own Python with virtualenv <folder>"},
		{"python /no/python", backup.LevelError, "/no/python is not there"},
		{"settings no.such.settings", backup.LevelError, "the settings module no.such.settings cannot be imported"},
		{"apps nothing", backup.LevelError, "No installed app with label 'nothing'"},
		{"exclude nothing", backup.LevelError, "No installed app with label 'nothing'"},
		{"env SITE_DB nonsense-canary", backup.LevelError, "to see why: cd " + s.dir + " && " + s.python + " manage.py check"},
		{`env SITE_DB {"ENGINE":"django.db.backends.sqlite3","NAME":"new.sqlite3"}`, backup.LevelError, "cannot be read: no such table"},
		{`env SITE_DB {"ENGINE":"django.db.backends.sqlite3","NAME":"/no/such/db"}`, backup.LevelError, "unable to open database file"},
		{`env SITE_DB {"ENGINE":"django.db.backends.postgresql","NAME":"x","HOST":"127.0.0.1","PORT":1,"PASSWORD":"canary"}`, backup.LevelError, "127.0.0.1"},
	} {
		t.Run(c.words, func(t *testing.T) {
			words := c.words
			if value, found := strings.CutPrefix(words, "env SITE_DB "); found {
				t.Setenv("DJANGO_TEST_DB", value)
				words = "env SITE_DB {env.DJANGO_TEST_DB}"
			}
			text, level := examined(t, s.in(t).source(words))
			if level != c.level || !strings.Contains(text, c.want) {
				t.Errorf("%s, want %s and %q:\n%s", level, c.level, c.want, text)
			}
			if strings.Contains(text, "canary") {
				t.Errorf("a secret is told:\n%s", text)
			}
		})
	}
	d := s.source("")
	d.Manage = "/no/manage.py"
	if text, level := examined(t, d); level != backup.LevelError || !strings.Contains(text, "correct the path in the source django") {
		t.Error(text)
	}
}

// TestDjangoExplain: what a project says when it does not begin, and what is made of it.
func TestDjangoExplain(t *testing.T) {
	d := &Django{Manage: "/srv/shop/manage.py", Python: "/usr/bin/python3", Settings: "shop.settings", User: "shop"}
	for said, want := range map[string]string{
		"ImportError: Couldn't import Django. Are you sure it's installed": "Django cannot be imported",
		"ModuleNotFoundError: No module named 'django'\n":                  "Django cannot be imported",
		"ModuleNotFoundError: No module named 'django_extensions'\n":       "the module django_extensions cannot be imported",
		"ModuleNotFoundError: No module named 'django.contrib.nothing'":    "Django cannot be imported",
		"ModuleNotFoundError: No module named 'shop'":                      "the settings module shop.settings cannot be imported",
		"ImproperlyConfigured: Error loading psycopg2 module: No":          "has no driver psycopg2",
		"ImproperlyConfigured: Error loading psycopg2 or psycopg module":   "has no driver psycopg2",
		"KeyError: 'SECRET_KEY'":                                           "add to the source a line such as: env SECRET_KEY {env.SECRET_KEY}",
		"ImproperlyConfigured: Set the DATABASE_URL environment variable":  "env DATABASE_URL {env.DATABASE_URL}",
		"UndefinedValueError: SECRET_KEY not found. Declare it as envvar":  "env SECRET_KEY {env.SECRET_KEY}",
		"PermissionError: [Errno 13] Permission denied: '/srv/shop/.env'":  "user shop may not use /srv/shop/.env",
		"  File \"x\"\nSyntaxError: invalid syntax":                        "does not understand the project",
		"sqlite3.DatabaseError: database disk image is malformed":          "its SQLite database is damaged: restore the last good backup",
		"ValueError: canary": "cd /srv/shop && ",
		"":                   "status 1",
	} {
		err := d.explain(backup.WithOutput(errors.New("it ended with status 1"), said))
		if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") || backup.OutputOf(err) != said {
			t.Errorf("%q: %v, want %q", said, err, want)
		}
	}
}
