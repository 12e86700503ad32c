package dump

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// siteDB is an entry of DATABASES, as the site reads it from its environment.
func siteDB(t testing.TB, entry map[string]any) string {
	t.Helper()
	text, err := json.Marshal(entry)
	if err != nil {
		t.Fatal(err)
	}
	return "SITE_DB=" + string(text)
}

func postgresEntry(pg *realtest.Postgres, name string) map[string]any {
	return map[string]any{"ENGINE": "django.db.backends.postgresql", "NAME": name, "USER": "postgres", "PASSWORD": pg.Password,
		"HOST": "127.0.0.1", "PORT": pg.Port}
}

// drillPlace is a scratch place as a run lends it.
func drillPlace(t testing.TB) backup.Scratch {
	t.Helper()
	return backup.Scratch{Name: backup.ScratchPrefix + "20261122t010203z_abcd_" + fmt.Sprintf("%08x", time.Now().UnixNano()&0xffffffff), Dir: t.TempDir()}
}

func TestDjangoPostgres(t *testing.T) {
	realtest.Django(t, "psycopg2")
	pg := realtest.StartPostgres(t)
	pg.CreateDatabase(t, "site")
	pg.SQL(t, "site", "CREATE EXTENSION hstore")
	s := newDjangoSite(t, siteDB(t, postgresEntry(pg, "site")), "SITE_APPS=django.contrib.postgres stock exact").fill()
	s.run(djangoFiles["stock/fill.py"])
	s.run(djangoFiles["exact/fill.py"])
	if err := os.Remove(filepath.Join(s.dir, "heard")); err != nil {
		t.Fatal(err)
	}
	t.Run("over the live one", func(t *testing.T) { testDjangoLoad(t, s.in(t)) })
	t.Run("rows of others", func(t *testing.T) { testDjangoCascades(t, s.in(t), pg) })
	t.Run("sequences", func(t *testing.T) { testDjangoSequences(t, s.in(t), pg) })
	t.Run("drill", func(t *testing.T) { testDjangoScratchPostgres(t, s.in(t), pg) })
	t.Run("one moment", func(t *testing.T) { testDjangoOneMoment(t, s.in(t), pg) })
	t.Run("killed", func(t *testing.T) { testDjangoKilled(t, s.in(t)) })
	t.Run("native", func(t *testing.T) { testDjangoNativePostgres(t, s.in(t), pg) })
	if text, err := os.ReadFile(filepath.Join(s.dir, "heard")); err == nil {
		t.Errorf("handlers of the project heard of a restore: %s", text)
	}
	noBuildings(t, pg)
}

// testDjangoLoad puts everything that is hard to put back over what has changed meanwhile.
func testDjangoLoad(t *testing.T, s *djangoSite) {
	d := s.source("natural_keys\nformat xml")
	stored, dump := dumped(t, d)
	// What is on a view is left out by itself.
	if notes := strings.Join(stored.Facts.Notes, " "); !strings.Contains(notes, "stock.Expensive") || stored.Facts.Rows["stock.expensive"] > 0 {
		t.Error("the rows of a view are in the dump, or it is not said that they are not:", notes)
	}
	if stored.Facts.Rows["stock.legacy"] != 1 {
		t.Errorf("%v", stored.Facts.Rows)
	}
	s.run(`
from stock.models import *
from django.db.models.signals import post_save
post_save.receivers = []
Box.objects.filter(id__gt=5).delete()
Legacy.objects.create(text="newer")
Tag.objects.create(name="newer")
User.objects.create(username="mallory")
User.objects.filter(username="alice").update(email="a@b.c")
Note.objects.all().delete()
Special.objects.filter(id__gt=70).delete()`)
	if err := d.Ready(t.Context(), stored, backup.Over{}, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	if err := d.Overwrite(t.Context(), stored, bytes.NewReader(dump), backup.Over{}, dumptest.Task(t)); err != nil {
		t.Fatal(err, backup.OutputOf(err))
	}
	if _, is := dumped(t, d); !bytes.Equal(is, dump) {
		t.Errorf("the project is not as it was:\n%.3000s\nwas\n%.3000s", is, dump)
	}
}

// testDjangoCascades has the server ready to delete rows of others with those that a restore deletes first.
func testDjangoCascades(t *testing.T, s *djangoSite, pg *realtest.Postgres) {
	pg.SQL(t, "site", `CREATE TABLE "Re view" (product_id bigint REFERENCES shop_product ON DELETE CASCADE);
		CREATE TABLE empty_review (LIKE "Re view", FOREIGN KEY (product_id) REFERENCES shop_product ON DELETE CASCADE);
		INSERT INTO "Re view" SELECT id FROM shop_product`)
	d := s.source("apps shop")
	stored, dump := dumped(t, d)
	if err := d.Ready(t.Context(), stored, backup.Over{Force: true}, dumptest.Task(t)); !errors.Is(err, backup.ErrConflict) ||
		!strings.Contains(err.Error(), `"Re view"`) || strings.Contains(err.Error(), "empty_review") {
		t.Error(err)
	}
	err := d.Overwrite(t.Context(), stored, bytes.NewReader(dump), backup.Over{Force: true}, dumptest.Task(t))
	if err == nil || !strings.Contains(backup.OutputOf(err), `rows of others would go`) {
		t.Error(err, backup.OutputOf(err))
	}
	if n := strings.TrimSpace(pg.SQL(t, "site", `SELECT count(*) FROM "Re view"`)); n == "0" {
		t.Error("rows of others are gone")
	}
	pg.SQL(t, "site", `DROP TABLE "Re view", empty_review`)
	testDjangoCascadesUnseen(t, s, pg)
}

// testDjangoCascadesUnseen has rows of others that the project's user may not see: they keep nobody from dumping.
func testDjangoCascadesUnseen(t *testing.T, s *djangoSite, pg *realtest.Postgres) {
	pg.SQL(t, "site", `CREATE ROLE project LOGIN SUPERUSER PASSWORD 'project'; CREATE SCHEMA closed;
		CREATE TABLE closed.review (product_id bigint REFERENCES public.shop_product ON DELETE CASCADE);
		CREATE TABLE hidden (LIKE closed.review, FOREIGN KEY (product_id) REFERENCES shop_product ON DELETE CASCADE);
		INSERT INTO hidden SELECT id FROM shop_product; ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
		ALTER ROLE project NOSUPERUSER; GRANT SELECT ON ALL TABLES IN SCHEMA public, closed TO project`)
	entry := postgresEntry(pg, "site")
	entry["USER"], entry["PASSWORD"] = "project", "project"
	s.env = append(s.env, siteDB(t, entry))
	d := s.source("apps shop")
	stored, _ := dumped(t, d)
	if err := d.Ready(t.Context(), stored, backup.Over{Force: true}, dumptest.Task(t)); !errors.Is(err, backup.ErrConflict) ||
		!strings.Contains(err.Error(), "closed.review") || !strings.Contains(err.Error(), "hidden") {
		t.Error(err)
	}
	pg.SQL(t, "site", `DROP SCHEMA closed CASCADE; DROP TABLE hidden; DROP OWNED BY project; DROP ROLE project`)
}

// testDjangoSequences looks whether new rows get numbers that are free: after a restore, and after one that was undone.
func testDjangoSequences(t *testing.T, s *djangoSite, pg *realtest.Postgres) {
	d := s.source("")
	stored, dump := dumped(t, d)
	add := `from shop.models import *; from stock.models import *; from exact.models import *
from django.db.models.signals import post_save
post_save.receivers = []
for i in range(30):
    tag = Tag.objects.create(name="tag more %d %s" % (i, Tag.objects.count()))
    product = Product.objects.create(name="more", price=1); product.tags.add(tag)
    Shelf.objects.create(); Legacy.objects.create(text="x"); Colour.objects.create(name="c%d %d" % (i, Colour.objects.count()))
Thing.objects.create(owner=User.objects.first(), words=[], more=1, pairs={})`
	s.run(add)
	was := s.state()
	bad := stored
	bad.Facts.Rows = maps.Clone(stored.Facts.Rows)
	bad.Facts.Rows["shop.tag"]++ // is seen last
	err := d.Overwrite(t.Context(), bad, bytes.NewReader(dump), backup.Over{}, dumptest.Task(t))
	if err == nil || !strings.Contains(fmt.Sprint(err, backup.OutputOf(err)), "shop.tag has 3 rows, the dump has 4") {
		t.Fatal(err, backup.OutputOf(err))
	}
	if s.state() != was {
		t.Error("what was undone left something")
	}
	s.run(add) // would fail if a number were given out twice
	for _, table := range []string{"shop_tag", "shop_product", "shop_product_tags", "stock_shelf", "stock_box", `"Old Stock"`} {
		pg.SQL(t, "site", fmt.Sprintf("SELECT setval(pg_get_serial_sequence('%s', 'id'), 1)", table)) // as in a new database
	}
	if err := d.Overwrite(t.Context(), stored, bytes.NewReader(dump), backup.Over{}, dumptest.Task(t)); err != nil {
		t.Fatal(err, backup.OutputOf(err))
	}
	s.run(add)
	if err := d.Overwrite(t.Context(), stored, bytes.NewReader(dump), backup.Over{}, dumptest.Task(t)); err != nil {
		t.Fatal(err, backup.OutputOf(err))
	}
}

// testDjangoScratchPostgres tries out what no SQLite can hold.
func testDjangoScratchPostgres(t *testing.T, s *djangoSite, pg *realtest.Postgres) {
	was := s.state()
	for _, words := range []string{"", "apps exact stock"} { // the second refers to what was not dumped
		d := s.source(words)
		stored, dump := dumped(t, d)
		facts, err := d.Drill(t.Context(), stored, bytes.NewReader(dump), drillPlace(t), dumptest.Task(t))
		if err != nil || !maps.Equal(facts.Rows, stored.Facts.Rows) || !strings.Contains(facts.Checked, "PostgreSQL") {
			t.Fatalf("%q: %+v, %v %s", words, facts, err, backup.OutputOf(err))
		}
		if words != "" && !realtest.Soak() {
			continue
		}
		for name, bad := range map[string][]byte{
			"half":                 dump[:len(dump)/2],
			"refers to what isn't": bytes.ReplaceAll(dump, []byte(`"shelf": 5`), []byte(`"shelf": 5555`)),
			"lacks a field":        bytes.ReplaceAll(dump, []byte(`"reason": "because"`), []byte(``)),
		} {
			if _, err := d.Drill(t.Context(), stored, bytes.NewReader(bad), drillPlace(t), dumptest.Task(t)); err == nil {
				t.Errorf("%q: a fixture that is %s can be restored", words, name)
			}
		}
		noBuildings(t, pg)
	}
	d := s.source("")
	stored, dump := dumped(t, d)
	if err := d.Restore(t.Context(), stored.Part, bytes.NewReader(dump), "fresh", dumptest.Task(t)); err != nil {
		t.Fatal(err, backup.OutputOf(err))
	}
	if n := strings.TrimSpace(pg.SQL(t, "fresh", "SELECT count(*) FROM exact_thing")); n != fmt.Sprint(stored.Facts.Rows["exact.thing"]) {
		t.Error(n)
	}
	if err := d.Restore(t.Context(), stored.Part, bytes.NewReader(dump), "fresh", dumptest.Task(t)); err == nil {
		t.Error("a database that exists was restored over")
	}
	pg.SQL(t, "postgres", "DROP DATABASE fresh")
	place := drillPlace(t)
	pg.CreateDatabase(t, place.Name)
	if err := d.SweepDrills(t.Context(), func(name string) bool { return name == place.Name }, dumptest.Task(t)); err != nil {
		t.Error(err)
	}
	noBuildings(t, pg)

	// One who may not make databases.
	pg.SQL(t, "site", "CREATE ROLE poor LOGIN PASSWORD 'poor'; GRANT pg_read_all_data TO poor")
	entry := postgresEntry(pg, "site")
	entry["USER"], entry["PASSWORD"] = "poor", "poor"
	s.env = append([]string{s.env[0], siteDB(t, entry)}, s.env[2:]...)
	d = s.source("apps stock auth shop")
	stored, dump = dumped(t, d)
	facts, err := d.Drill(t.Context(), stored, bytes.NewReader(dump), drillPlace(t), dumptest.Task(t))
	if err != nil || !strings.Contains(fmt.Sprint(facts), "SQLite") || !strings.Contains(fmt.Sprint(facts.Notes), "CREATEDB") {
		t.Errorf("%+v, %v %s", facts, err, backup.OutputOf(err))
	}
	d = s.source("apps exact")
	stored, dump = dumped(t, d)
	if _, err := d.Drill(t.Context(), stored, bytes.NewReader(dump), drillPlace(t), dumptest.Task(t)); err == nil || !strings.Contains(err.Error(), "CREATEDB") {
		t.Error(err)
	}
	if is := newSiteLike(t, s, pg).state(); is != was {
		t.Error("a drill touched the live one")
	}
}

// newSiteLike is the site as its owner sees it.
func newSiteLike(t *testing.T, s *djangoSite, pg *realtest.Postgres) *djangoSite {
	other := s.in(t)
	other.env = append([]string{s.env[0], siteDB(t, postgresEntry(pg, "site"))}, s.env[2:]...)
	return other
}

// testDjangoOneMoment dumps while somebody adds rows that refer to each other, and to ones that are dumped first.
func testDjangoOneMoment(t *testing.T, s *djangoSite, pg *realtest.Postgres) {
	d := s.source("apps auth.User shop")
	end, ended := make(chan bool), make(chan error, 1)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-end:
				ended <- nil
				return
			case <-time.After(10 * time.Millisecond):
			}
			if _, err := pg.TrySQL(t.Context(), "site", fmt.Sprintf(`WITH u AS (INSERT INTO auth_user (username, password, is_superuser, is_staff,
				is_active, first_name, last_name, email, date_joined) VALUES ('busy %d', '', false, false, true, '', '', '', now()) RETURNING id)
				INSERT INTO shop_sale (product_id, buyer_id, at) SELECT 2, u.id, now() FROM u`, n)); err != nil {
				ended <- err
				return
			}
		}
	}()
	for pg.SQL(t, "site", "SELECT count(*) FROM auth_user WHERE username LIKE 'busy%'") == "0\n" && len(ended) == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	stored, _ := dumped(t, d)
	if sales, users := stored.Facts.Rows["shop.sale"], stored.Facts.Rows["auth.user"]; users < 2 || sales != 60+users-1 {
		t.Errorf("%d users and %d sales: the dump is of no one moment", users, sales)
	}
	close(end)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	pg.SQL(t, "site", "DELETE FROM shop_sale WHERE id > 60; DELETE FROM auth_user WHERE username LIKE 'busy%'")
}

// overwriteDjango restores over a live project in a process of its own, says "ready" when so many hundredths of the dump were read, and
// then waits to be killed.
func overwriteDjango(path string) {
	var percent int
	_, err := fmt.Sscan(os.Getenv("DUMP_TEST_PERCENT"), &percent)
	exitOn(err)
	dump, err := os.ReadFile(path)
	exitOn(err)
	d := &Django{Manage: os.Getenv("DUMP_TEST_MANAGE"), Python: "/usr/bin/python3", Format: "jsonl", Env: map[string]string{}}
	for _, key := range []string{"SITE_SECRET", "SITE_DB", "SITE_APPS"} {
		d.Env[key] = os.Getenv(key)
	}
	for key, value := range d.Env {
		d.env = append(d.env, key+"="+value)
	}
	hang := readerFunc(func([]byte) (int, error) {
		time.Sleep(300 * time.Millisecond) // until it has read what came
		fmt.Println("ready")
		select {}
	})
	cut := bytes.LastIndexByte(dump[:len(dump)*percent/100], '\n') + 1 // where nobody could tell that more should come
	exitOn(d.Overwrite(context.Background(), backup.Stored{Part: backup.Part{Name: "db.jsonl"}}, io.MultiReader(bytes.NewReader(dump[:cut]), hang),
		backup.Over{}, dumptest.Task(&testing.T{})))
}

// testDjangoKilled kills whoever restores: the live one is as before, and nothing runs on.
func testDjangoKilled(t *testing.T, s *djangoSite) {
	d := s.source("format jsonl")
	_, dump := dumped(t, d)
	file := filepath.Join(t.TempDir(), "dump")
	if err := os.WriteFile(file, dump, 0o600); err != nil {
		t.Fatal(err)
	}
	s.run("from stock.models import *; Tag.objects.filter(name='newer').delete(); Colour.objects.create(name='of the day')")
	was := s.state()
	marker := t.TempDir()
	percents := []int{50, 100}
	if realtest.Soak() {
		percents = []int{10, 30, 50, 70, 90, 100}
	}
	for _, percent := range percents {
		killWhenReady(t, "overwriteDjango", file, append(s.env, fmt.Sprintf("DUMP_TEST_PERCENT=%d", percent), "DUMP_TEST_MANAGE="+d.Manage, "TMPDIR="+marker)...)
		dumptest.Gone(t, marker)
		if s.state() != was {
			t.Fatalf("%d %%: the live one is not as it was", percent)
		}
	}
}

// testDjangoNativePostgres has the engine native meet all that DATABASES can say.
func testDjangoNativePostgres(t *testing.T, s *djangoSite, pg *realtest.Postgres) {
	const password = `can'ary\ "pw" %2F@:/#? ü`
	pg.SQL(t, "postgres", `CREATE ROLE "odd user" SUPERUSER LOGIN PASSWORD '`+strings.ReplaceAll(password, "'", "''")+`'`)
	odd := postgresEntry(pg, "site")
	odd["USER"], odd["PASSWORD"], odd["CONN_MAX_AGE"], odd["ATOMIC_REQUESTS"] = "odd user", password, 600, true
	odd["TEST"] = map[string]any{"NAME": "not-this-one"}
	odd["OPTIONS"] = map[string]any{"sslmode": "prefer", "isolation_level": 3, "options": "-c statement_timeout=600000"}
	socket := postgresEntry(pg, "site")
	socket["HOST"], socket["PORT"] = pg.Dir, fmt.Sprint(pg.Port)
	fromEnv := map[string]any{"ENGINE": "django.db.backends.postgresql", "NAME": "site"}
	variables := []string{"PGHOST=127.0.0.1", fmt.Sprintf("PGPORT=%d", pg.Port), "PGUSER=odd user", "PGPASSWORD=" + password}
	// The service names another user, and files count from the folder of manage.py.
	service := map[string]any{"ENGINE": "django.db.backends.postgresql", "NAME": "", "USER": "odd user",
		"OPTIONS": map[string]any{"service": "shop", "passfile": ".my_pgpass"}}
	writeTree(t, s.dir, map[string]string{
		"services":   fmt.Sprintf("[other]\nhost=nowhere\n# ours\n[shop]\nhost = 127.0.0.1\nport=%d\ndbname=site\nuser=nobody-known\n", pg.Port),
		".my_pgpass": "*:*:*:*:" + strings.NewReplacer(`\`, `\\`, ":", `\:`).Replace(password) + "\n",
	})
	if err := os.Chmod(filepath.Join(s.dir, ".my_pgpass"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		env   []string
		words string
	}{
		"a service":        {env: []string{siteDB(t, service), "PGSERVICEFILE=services"}},
		"odd":              {env: []string{siteDB(t, odd)}},
		"a socket":         {env: []string{siteDB(t, socket)}},
		"from environment": {env: append(variables, siteDB(t, fromEnv))},
		"another alias": {env: []string{"SITE_DB=" + `{"ENGINE": "django.db.backends.sqlite3", "NAME": "x.sqlite3"}`,
			strings.Replace(siteDB(t, map[string]any{"second": odd}), "SITE_DB", "SITE_MORE", 1)}, words: "\ndatabase second"},
	} {
		t.Run(name, func(t *testing.T) {
			other := s.in(t)
			other.env = append([]string{s.env[0], "SITE_APPS=django.contrib.postgres stock exact"}, tc.env...)
			d := other.source("engine native" + tc.words)
			looked := 0
			look := writerFunc(func(b []byte) (int, error) {
				if looked++; looked <= 2 {
					for _, found := range realtest.Leftovers(password) {
						t.Errorf("the password can be read in %s", found)
					}
				}
				return len(b), nil
			})
			var b bytes.Buffer
			task := dumptest.Task(t)
			facts, err := d.Dump(t.Context(), firstPartNamed("db.dump"), io.MultiWriter(&b, look), task)
			if err != nil || !strings.HasPrefix(b.String(), archiveMagic) {
				t.Fatal(err)
			}
			if text := fmt.Sprint(facts, dumptest.Log(task)); strings.Contains(text, password) {
				t.Error(text)
			}
			stored := backup.Stored{Part: firstPartNamed("db.dump"), Facts: facts, Size: int64(b.Len())}
			if name == "odd" {
				if _, err := d.Drill(t.Context(), stored, bytes.NewReader(b.Bytes()), drillPlace(t), dumptest.Task(t)); err != nil {
					t.Error(err)
				}
				for _, line := range d.Examine(t.Context(), dumptest.Task(t)) {
					if line.Level == backup.LevelError || strings.Contains(line.Text, password) {
						t.Error(line)
					}
				}
			}
		})
	}
	bad := postgresEntry(pg, "site")
	bad["PASSWORD"] = "canary-that-is-wrong"
	other := s.in(t)
	other.env = append([]string{s.env[0], "SITE_APPS=django.contrib.postgres stock exact"}, siteDB(t, bad))
	for _, words := range []string{"engine native", ""} {
		_, err := other.source(words).Dump(t.Context(), firstPartNamed("db.dump"), io.Discard, dumptest.Task(t))
		if text := fmt.Sprint(err, backup.OutputOf(err)); err == nil || strings.Contains(text, "canary") || !strings.Contains(text, "password") {
			t.Errorf("%q: %s", words, text)
		}
	}
}
