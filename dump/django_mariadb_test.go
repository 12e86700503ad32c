package dump

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// TestDjangoMariaDB has a project before MariaDB dumped, restored and tried out, as a fixture and natively.
func TestDjangoMariaDB(t *testing.T) {
	realtest.Django(t, "MySQLdb")
	my := realtest.StartMariaDB(t)
	my.SQL(t, "", "CREATE DATABASE site CHARACTER SET utf8mb4")
	const password = `can'ary\ "pw" %2F@:/#? ü`
	my.SQL(t, "", `CREATE USER 'odd user'@'%' IDENTIFIED BY '`+strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(password)+`'; GRANT ALL ON *.* TO 'odd user'@'%'`)
	entry := map[string]any{"ENGINE": "django.db.backends.mysql", "NAME": "site", "USER": "odd user", "PASSWORD": password, "HOST": "127.0.0.1",
		"PORT": my.Port, "CONN_MAX_AGE": 600, "OPTIONS": map[string]any{"charset": "utf8mb4", "init_command": "SET sql_mode='STRICT_TRANS_TABLES'"}}
	s := newDjangoSite(t, siteDB(t, entry), "SITE_APPS=stock").fill()
	s.run(djangoFiles["stock/fill.py"])
	d := s.source("")
	stored, dump := dumped(t, d)
	s.run(`
from stock.models import *
Box.objects.filter(id__gt=5).delete()
Tag.objects.filter(id=1).delete()
Legacy.objects.create(text="newer")
Special.objects.filter(id__gt=70).delete()`)
	if err := d.Ready(t.Context(), stored, backup.Over{}, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	bad := bytes.ReplaceAll(dump, []byte(`"shelf": 5`), []byte(`"shelf": 5555`))
	before := my.Digests(t, "site")
	if err := d.Overwrite(t.Context(), stored, bytes.NewReader(bad), backup.Over{}, dumptest.Task(t)); err == nil {
		t.Error("a fixture that refers to what is not there was restored")
	}
	if after := my.Digests(t, "site"); fmt.Sprint(before) != fmt.Sprint(after) {
		t.Error("what was undone left something")
	}
	my.SQL(t, "site", "CREATE TABLE review (product_id bigint, FOREIGN KEY (product_id) REFERENCES shop_product (id) ON DELETE CASCADE); "+
		"INSERT INTO review SELECT id FROM shop_product")
	if err := d.Overwrite(t.Context(), stored, bytes.NewReader(dump), backup.Over{}, dumptest.Task(t)); err != nil {
		t.Fatal(err, backup.OutputOf(err))
	}
	if n := strings.TrimSpace(my.SQL(t, "site", "SELECT count(*) FROM review")); n != "70" {
		t.Errorf("of the rows of others %s are left", n)
	}
	if _, is := dumped(t, d); !bytes.Equal(is, dump) {
		t.Error("the project is not as it was")
	}
	if _, err := d.Drill(t.Context(), stored, bytes.NewReader(dump), drillPlace(t), dumptest.Task(t)); err != nil {
		t.Error(err, backup.OutputOf(err))
	}
	t.Run("native", func(t *testing.T) { testDjangoNativeMariaDB(t, s.in(t), my, entry) })
	my.SQL(t, "site", "ALTER TABLE stock_colour ENGINE=MyISAM")
	if err := d.Ready(t.Context(), stored, backup.Over{}, dumptest.Task(t)); err == nil || !strings.Contains(err.Error(), "stock_colour") {
		t.Error(err)
	}
	if err := d.Ready(t.Context(), stored, backup.Over{Force: true}, dumptest.Task(t)); err != nil {
		t.Error(err)
	}
}

func testDjangoNativeMariaDB(t *testing.T, s *djangoSite, my *realtest.MariaDB, entry map[string]any) {
	password := entry["PASSWORD"].(string)
	socket := map[string]any{"ENGINE": "django.db.backends.mysql", "NAME": "site", "USER": "root", "PASSWORD": my.Password,
		"OPTIONS": map[string]any{"unix_socket": my.Socket()}}
	writeTree(t, s.dir, map[string]string{"my.cnf": "[mysqld]\nport=1\n[client]\n# ours\ndatabase = site\nuser='root'\npassword = " + my.Password + "\nsocket=" + my.Socket() + "\n"})
	file := map[string]any{"ENGINE": "django.db.backends.mysql", "OPTIONS": map[string]any{"read_default_file": "my.cnf"}}
	for name, db := range map[string]map[string]any{"odd": entry, "a socket": socket, "an option file": file} {
		s.env = []string{s.env[0], siteDB(t, db), "SITE_APPS=stock"}
		d := s.source("engine native")
		look := writerFunc(func(b []byte) (int, error) {
			for _, found := range append(realtest.Leftovers(password), realtest.Leftovers("password="+my.Password)...) {
				t.Errorf("the password can be read in %s", found)
			}
			return len(b), nil
		})
		var b bytes.Buffer
		task := dumptest.Task(t)
		facts, err := d.Dump(t.Context(), firstPartNamed("db.sql"), io.MultiWriter(&b, look), task)
		if err != nil || facts.Rows["shop_sale"]+facts.Rows["site.shop_sale"] != 60 {
			t.Fatal(name, err, facts)
		}
		if text := fmt.Sprint(facts, dumptest.Log(task)); strings.Contains(text, password) {
			t.Error(text)
		}
		if name == "odd" {
			stored := backup.Stored{Part: firstPartNamed("db.sql"), Facts: facts, Size: int64(b.Len())}
			if _, err := d.Drill(t.Context(), stored, bytes.NewReader(b.Bytes()), drillPlace(t), dumptest.Task(t)); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestDjangoAddresses(t *testing.T) {
	for _, tc := range []struct {
		db   djangoDatabase
		want string
	}{
		{djangoDatabase{Name: "s p/a?c#e", User: "u@", Password: "p:@/#?%é", Host: "db", Port: 3307.0}, "{u@ p:@/#?%é db 3307  s p/a?c#e    }"},
		{djangoDatabase{Name: "n", User: "u", Host: "::1"}, "{u  ::1 3306  n    }"},
		{djangoDatabase{Name: "n", User: "u", Host: "::1", Port: "1"}, "{u  ::1 1  n    }"},
		{djangoDatabase{Name: "n", User: "u", Host: "/s/ocket", Port: ""}, "{u    /s/ocket n    }"},
		{djangoDatabase{Name: "n"}, "DATABASES names no USER"},
	} {
		dsn, err := tc.db.mysql()
		got := fmt.Sprint(err)
		if err == nil {
			s, err := parseMyDSN(dsn)
			got = fmt.Sprint(s)
			if err != nil {
				got = err.Error()
			}
		}
		if got != tc.want {
			t.Errorf("%+v: %s, want %s", tc.db, got, tc.want)
		}
	}
}
