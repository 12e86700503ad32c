package dump

import (
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// What a user may not see, a dump program leaves out without a word.
func testMySQLPrivileges(t *testing.T, my *realtest.MariaDB) {
	for i, tc := range []struct{ grant, missing string }{
		{"ALL PRIVILEGES ON `the shop`.*", "GRANT SELECT ON mysql.proc"}, // others made the routines
		{"SELECT, SHOW VIEW, TRIGGER, EVENT ON *.*", ""},
		{"SELECT, SHOW VIEW, EVENT, EXECUTE ON `the shop`.*", "GRANT TRIGGER ON"},
		{"SELECT, SHOW VIEW, EVENT, TRIGGER ON `the shop`.*", "GRANT EXECUTE ON"},
		{"SELECT ON `the shop`.product", "GRANT SELECT, SHOW VIEW"},
	} {
		user := "u" + strconv.Itoa(i)
		my.SQL(t, "", "CREATE USER "+user+"@'127.0.0.1' IDENTIFIED BY 'pa\"ss\\\\''# word'; GRANT "+tc.grant+" TO "+user+"@'127.0.0.1'")
		m := mySource(t, my.UserDSN(user, `pa"ss\'# word`, "the shop"))
		_, err := m.Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t))
		if tc.missing == "" && err != nil || tc.missing != "" && (err == nil || !strings.Contains(err.Error(), tc.missing)) {
			t.Errorf("%s: %v", tc.grant, err)
		}
		list := m.Examine(t.Context(), dumptest.Task(t))
		fails := slices.ContainsFunc(list, func(d backup.Diagnosis) bool { return d.Level == backup.LevelError })
		if fails != (tc.missing != "") {
			t.Errorf("%s: %+v", tc.grant, list)
		}
	}
}

func testMySQLSecrets(t *testing.T, my *realtest.MariaDB) {
	m := mySource(t, my.DSN("big"))
	looked := false
	_, err := m.Dump(t.Context(), backup.Part{}, writerFunc(func(p []byte) (int, error) {
		if !looked {
			looked = true
			for _, found := range realtest.Leftovers(my.Password) {
				t.Errorf("the password can be read at %s", found)
			}
		}
		return len(p), nil
	}), dumptest.Task(t))
	if err != nil || !looked {
		t.Error(err)
	}
}

func testMySQLMessages(t *testing.T, my *realtest.MariaDB) {
	for dsn, want := range map[string]string{
		my.UserDSN("root", "wrong", "the shop"):               "correct user or password",
		my.DSN("nowhere"):                                     "there is no database nowhere",
		"mysql://root:canary@127.0.0.1:1/x":                   "see whether it is running there",
		"mysql://root:canary@localhost/x?socket=/tmp/no/sock": "/tmp/no/sock",
	} {
		_, err := mySource(t, dsn).Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	m := mySource(t, "mysql://root:"+my.Password+"@localhost/big?socket="+my.Socket())
	if facts, err := m.Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t)); err != nil || facts.Source != "database big on "+my.Socket() {
		t.Errorf("%+v, %v", facts, err)
	}
}
