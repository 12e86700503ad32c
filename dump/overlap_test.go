package dump

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
)

func TestOverlaps(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("db", at("link")); err != nil {
		t.Fatal(err)
	}
	pg := func(dsn, words string) backup.Source {
		return configured(t, new(Postgres), "postgres {\ndsn "+dsn+"\n"+words+"\n}")
	}
	my := func(dsn, words string) backup.Source {
		return configured(t, new(MySQL), "mysql {\ndsn "+dsn+"\n"+words+"\n}")
	}
	django := func(words string) backup.Source {
		return configured(t, new(Django), "django /srv/shop/manage.py {\n"+words+"\n}")
	}
	sqlite := func(path string) backup.Source { return configured(t, new(SQLite), "sqlite "+path) }
	files := func(path string) backup.Source { return configured(t, new(Files), "files "+path) }
	command := func(words string) backup.Source { return configured(t, new(Command), "command "+words) }
	const server, other = "postgres://u:pw@db.example.com/", "postgres://v:pw2@db.example.com:5432/"
	const my1, my2 = "mysql://u:pw@db.example.com/", "mysql://v@db.example.com:3306/"
	for _, c := range []struct {
		a, b backup.Source
		want string
	}{
		{sqlite(at("db")), sqlite(at("link")), "database " + at("db")},
		{sqlite(at("db")), sqlite(at("db2")), ""},
		{sqlite(at("db")), files(at("db")), ""},
		{files(dir), files(dir + "/."), "folder " + dir},
		{files(dir), files(at("sub")), ""},
		{command("pg_dump shop"), command("pg_dump shop"), "what the same command prints, pg_dump,"},
		{command("pg_dump shop"), command("pg_dump blog"), ""},
		{command("pg_dump shop"), command("pg_dump shop {\ndir /srv\n}"), ""},
		{new(Caddy), new(Caddy), "Caddy itself"},
		{new(Caddy), files(dir), ""},

		{pg(server+"shop", ""), pg(other+"shop", ""), "database shop on db.example.com:5432"},
		{pg(server+"shop", ""), pg(other+"blog", ""), ""},
		{pg(server+"shop", ""), pg("postgres://u@other.example.com/shop", ""), ""},
		{pg(server+"shop", "tables a"), pg(other+"shop", "tables b"), ""},
		{pg(server+"shop", "tables a"), pg(other+"shop", ""), "database shop on db.example.com:5432"},
		{pg(server+"postgres", "all_databases"), pg(other+"shop", ""), "database shop on db.example.com:5432"},
		{pg(server+"postgres", "all_databases\nexclude_databases sh*"), pg(other+"shop", ""), ""},
		{pg(server+"postgres", "all_databases"), pg(other+"x", "all_databases"), "all databases on db.example.com:5432"},

		{my(my1+"shop", ""), my(my2+"shop", ""), "database shop on db.example.com:3306"},
		{my(my1+"shop", ""), my(my2+"blog", ""), ""},
		{my(my1+"shop", ""), my(my2, "all_databases"), "database shop on db.example.com:3306"},
		{my(my1+"shop", ""), my(my2, "all_databases\nexclude_databases shop"), ""},

		{django("apps orders"), django("apps orders customers"), "app orders of /srv/shop/manage.py"},
		{django("apps orders customers"), django("apps customers orders"), "apps orders, customers of /srv/shop/manage.py"},
		{django("apps orders"), django("apps customers"), ""},
		{django("apps orders"), django(""), "app orders of /srv/shop/manage.py"},
		{django("apps orders"), django("exclude orders"), ""},
		{django("apps orders.Order"), django("apps orders"), "app orders.Order of /srv/shop/manage.py"},
		{django("apps orders.Order"), django("apps orders.Item"), ""},
		{django(""), django(""), "database default of /srv/shop/manage.py"},
		{django("engine native"), django("apps orders"), "app orders of /srv/shop/manage.py"},
		{django("apps orders"), django("apps orders\ndatabase other"), ""},
	} {
		for _, pair := range [][2]backup.Source{{c.a, c.b}, {c.b, c.a}} {
			got := pair[0].(interface{ Overlaps(backup.Source) string }).Overlaps(pair[1])
			if (got == "") != (c.want == "") || pair[0] == c.a && got != c.want {
				t.Errorf("%+v\nand %+v\ngot  %q\nwant %q", pair[0], pair[1], got, c.want)
			}
		}
	}
}

func TestLiteralSecret(t *testing.T) {
	for _, c := range []struct {
		source interface{ LiteralSecret() string }
		want   string
	}{
		{&Postgres{DSN: "{env.DATABASE_URL}"}, ""},
		{&Postgres{DSN: "postgres://shop@db/shop"}, ""},
		{&Postgres{DSN: "postgres://shop:{file./run/pw}@db/shop"}, ""},
		{&Postgres{DSN: "service=shop"}, ""},
		{&Postgres{DSN: "host=db user=shop password={env.PW}"}, ""},
		{&Postgres{DSN: "postgres://shop:pw@db/shop"}, "dsn"},
		{&Postgres{DSN: "postgres://{env.U}:pw@db/shop"}, "dsn"},
		{&Postgres{DSN: "postgres://db/shop?user=shop&password=pw"}, "dsn"},
		{&Postgres{DSN: "host=db user=shop password='p w'"}, "dsn"},
		{&Postgres{DSN: "postgres://shop:p%zz@db/shop"}, "dsn"},
		{&MySQL{DSN: "mysql://shop@localhost/shop?socket=/run/my.sock"}, ""},
		{&MySQL{DSN: "mysql://shop:{env.PW}@db/shop"}, ""},
		{&MySQL{DSN: "mysql://shop:pw@db/shop"}, "dsn"},
		{&Command{Invocation: Invocation{Command: []string{"redis-cli", "--rdb", "-"}}}, ""},
		{&Command{Invocation: Invocation{Command: []string{"mongodump", "--password=pw"}}}, "command"},
		{&Command{Invocation: Invocation{Command: []string{"mongodump", "mongodb://u:pw@db/shop"}}}, "command"},
		{&Command{Invocation: Invocation{Command: []string{"sh", "-c", `set -o pipefail; PGPASSWORD="$PW" pg_dump --passfile=/x shop`}}}, ""},
		{&Command{Invocation: Invocation{Command: []string{"sh", "-c", "PGPASSWORD='pw' pg_dump shop"}}}, "command"},
		{&Command{Invocation: Invocation{Command: []string{"docker", "exec", "-e", "MYSQL_PWD=pw", "db", "mysqldump"}}}, "command"},
		{&Command{Invocation: Invocation{Env: map[string]string{"LANG": "C", "PGPASSWORD": "{env.PW}"}}}, ""},
		{&Command{Invocation: Invocation{Env: map[string]string{"PGPASSWORD": "pw"}}}, "env PGPASSWORD"},
		{&Command{Invocation: Invocation{Env: map[string]string{"SITE": "https://u:pw@host/"}}}, "env SITE"},
		{&Django{Env: map[string]string{"SECRET_KEY": "{file./run/key}"}}, ""},
		{&Django{Env: map[string]string{"SECRET_KEY": "abc"}}, "env SECRET_KEY"},
	} {
		if got := c.source.LiteralSecret(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.source, got, c.want)
		}
	}
}
