package caddybackup

import (
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
)

func TestWayBack(t *testing.T) {
	for _, c := range []struct{ kind, name, source, want string }{
		{"postgres", "db.dump", "database shop on 127.0.0.1:5432", "pg_restore --create --exit-on-error --dbname=postgres /r/db.dump"},
		{"postgres", "pg.postgres.dump", "database postgres on /run/postgresql", "pg_restore --exit-on-error --single-transaction --dbname=postgres /r/pg.postgres.dump"},
		{"postgres", "db.sql", "database the shop on 127.0.0.1:5432", "createdb --template=template0 --owner=OWNER NAME && psql -X --set=ON_ERROR_STOP=1 --dbname=NAME --file=/r/db.sql"},
		{"mysql", "db.sql", "database wp on /run/mysqld/mysqld.sock", "mariadb --execute='create database wp' && mariadb wp < /r/db.sql"},
		{"mysql", "db.sql", "database a`; drop on x", "mariadb --execute='create database NAME' && mariadb NAME < /r/db.sql"},
		{"sqlite", "db.sqlite3", "database /srv/blog/db.sqlite3", "cp /r/db.sqlite3 PLACE   # /srv/blog/db.sqlite3"},
	} {
		got := wayBack(backup.ManifestPart{Name: c.name, Kind: c.kind, Facts: backup.Facts{Source: c.source}}, "/r/"+c.name)
		if !strings.HasSuffix(got, "\n    "+c.want) {
			t.Errorf("%s of %s: %s", c.name, c.source, got)
		}
	}
}
