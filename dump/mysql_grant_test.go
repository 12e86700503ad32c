package dump

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// A site's own user, in whose database an administrator has made a view: what this user may not make anew must be found before the
// live database is touched, and what is told to be granted must be enough.
func testMySQLGrants(t *testing.T, my *realtest.MariaDB) {
	my.SQL(t, "", "CREATE DATABASE site; CREATE TABLE site.post (id int PRIMARY KEY); INSERT INTO site.post VALUES (1), (2); "+
		"CREATE VIEW site.public AS SELECT * FROM site.post; CREATE USER site@'127.0.0.1' IDENTIFIED BY 'x'; GRANT ALL ON site.* TO site@'127.0.0.1'")
	defer my.SQL(t, "", "DROP DATABASE site; DROP DATABASE IF EXISTS site_before; DROP USER site@'127.0.0.1'")
	m := mySource(t, my.UserDSN("site", "x", "site"))
	stored, dump := dumped(t, mySource(t, my.DSN("site")))
	my.SQL(t, "", "DELETE FROM site.post")
	is := myState(t, my, "site")

	granted := func(err error, want string) {
		t.Helper()
		if err == nil || errors.Is(err, backup.ErrIncomplete) || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want one with %s", err, want)
		}
		my.SQL(t, "", want)
	}
	note := func() string {
		t.Helper()
		list := m.Examine(t.Context(), dumptest.Task(t))
		return list[len(list)-1].Text
	}
	const ours = "GRANT ALL ON `caddy\\_backup\\_%`.* TO 'site'@'127.0.0.1'"
	if got := note(); !strings.Contains(got, ours) {
		t.Errorf("the doctor says %q", got)
	}
	restore := func(place string) error {
		return m.Restore(t.Context(), stored.Part, bytes.NewReader(dump), place, dumptest.Task(t))
	}
	ready := func() error { return m.Ready(t.Context(), stored, backup.Over{}, dumptest.Task(t)) }
	overwrite := func() error {
		return m.Overwrite(t.Context(), stored, bytes.NewReader(dump), backup.Over{}, dumptest.Task(t))
	}
	granted(restore("site_before"), "GRANT ALL ON `site\\_before`.* TO 'site'@'127.0.0.1'")
	granted(restore("x_restored_20261122_010203"), "GRANT ALL ON `x\\_restored\\_%`.* TO 'site'@'127.0.0.1'")
	granted(ready(), ours)
	if got := note(); strings.Contains(got, "GRANT") {
		t.Errorf("after the grant the doctor says %q", got)
	}
	const others = "GRANT SET USER ON *.* TO 'site'@'127.0.0.1'"
	for name, try := range map[string]func() error{"ready": ready, "overwrite": overwrite, "restore": func() error { return restore("site_before") }} {
		if err := try(); err == nil || errors.Is(err, backup.ErrIncomplete) || !strings.Contains(err.Error(), others) {
			t.Errorf("%s: %v", name, err)
		}
	}
	samePgState(t, myState(t, my, "site"), is)
	if left := my.SQL(t, "", "SHOW DATABASES LIKE 'caddy%'"); left != "" {
		t.Errorf("left behind: %s", left)
	}
	granted(ready(), others)
	if err := errors.Join(ready(), overwrite(), restore("site_before")); err != nil {
		t.Fatal(err)
	}
	for _, database := range []string{"site", "site_before"} {
		if got := strings.TrimSpace(my.SQL(t, database, "SELECT count(*) FROM public")); got != "2" {
			t.Errorf("%s: %s rows", database, got)
		}
	}
}
