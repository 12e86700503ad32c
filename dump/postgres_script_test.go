package dump

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// A script brings everything back that an archive does.
func testPostgresScript(t *testing.T, pg *realtest.Postgres) {
	p := pgSource(t, pg.DSN("the shop"))
	p.Format = formatPlain
	dump, _ := pgDump(t, p, backup.Part{})
	want := pgState(t, pg, "the shop")
	restore := func(script []byte, place string) error {
		dumptest.NothingLeft(t)
		return p.Restore(t.Context(), backup.Part{}, bytes.NewReader(script), place, dumptest.Task(t))
	}
	if err := restore(dump, "from a script"); err != nil {
		t.Fatal(err)
	}
	samePgState(t, pgState(t, pg, "from a script"), want)
	if err := restore(dump, "from a script"); !errors.Is(err, backup.ErrConflict) {
		t.Errorf("over something: %v", err)
	}
	for _, size := range []int{0, 100, len(dump) / 2, bytes.LastIndex(dump, []byte(" complete"))} {
		if err := restore(dump[:size], "cut"); err == nil || pgExists(t, pg, "cut") {
			t.Errorf("cut behind %d bytes: %v", size, err)
		}
	}
	if err := restore(bytes.Replace(dump, []byte("\nCREATE TABLE public.account"), []byte("\nCREATE TABLE no_such.account"), 1), "wrong"); err == nil ||
		!strings.Contains(backup.OutputOf(err), "no_such") || pgExists(t, pg, "wrong") {
		t.Errorf("a script with an error: %v", err)
	}
	t.Run("as somebody else", func(t *testing.T) {
		pg.SQL(t, "postgres", "CREATE ROLE builder LOGIN CREATEDB")
		p := pgSource(t, strings.Replace(pg.SocketDSN("postgres"), "user=postgres", "user=builder", 1))
		err := p.Restore(t.Context(), backup.Part{}, bytes.NewReader(dump), "not ours", dumptest.Task(t))
		if err == nil || !strings.Contains(err.Error(), "restore as a superuser") || pgExists(t, pg, "not ours") {
			t.Errorf("error = %v", err)
		}
	})
	t.Run("hostile", func(t *testing.T) { testPostgresHostile(t, pg, p, dump) })
	t.Run("old psql", func(t *testing.T) {
		dir := fakePrograms(t, pg, "15.3", "exit 1", "exit 1")
		if err := os.WriteFile(filepath.Join(dir, "psql"), []byte("#!/bin/sh\necho '\\connect'\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		p := pgSource(t, pg.DSN("the shop"))
		p.Programs = dir
		err := p.Restore(t.Context(), backup.Part{}, bytes.NewReader(dump), "old", dumptest.Task(t))
		if err == nil || !strings.Contains(err.Error(), "install the last correction") || pgExists(t, pg, "old") {
			t.Errorf("error = %v", err)
		}
	})
	noBuildings(t, pg)
}

// No text in a script runs a program or writes a file, wherever it hides; and the restore is refused.
func testPostgresHostile(t *testing.T, pg *realtest.Postgres, p *Postgres, dump []byte) {
	canary := filepath.Join(t.TempDir(), "canary")
	key := restriction.FindSubmatch(dump)[2]
	for name, text := range map[string]string{
		"program":           "\\! touch " + canary + "\n",
		"in a line":         "SELECT 1 \\g |touch " + canary + "\n",
		"copy":              "\\copy (SELECT 1) TO PROGRAM 'touch " + canary + "'\n",
		"output":            "\\o " + canary + "\nSELECT 1;\n",
		"behind unrestrict": "\\unrestrict " + string(key) + "\n\\! touch " + canary + "\n",
		"other strings":     "SET standard_conforming_strings = off; SELECT '\\'' \\! touch " + canary + "\n",
		"another database":  "\\connect postgres\nCREATE TABLE canary (n int);\n",
	} {
		t.Run(name, func(t *testing.T) {
			dumptest.NothingLeft(t)
			at := bytes.Index(dump, []byte("\nCREATE TABLE public.account")) + 1
			err := p.Restore(t.Context(), backup.Part{}, bytes.NewReader(slices.Concat(dump[:at], []byte(text), dump[at:])), "hostile", dumptest.Task(t))
			if err == nil || !strings.Contains(backup.OutputOf(err), "restrict") {
				t.Errorf("error = %v: %s", err, backup.OutputOf(err))
			}
			if _, err := os.Lstat(canary); err == nil || pgExists(t, pg, "hostile") {
				t.Error("it had its way")
			}
		})
	}
}

// Roles and tablespaces come back; those that are there stay as they are.
func testPostgresGlobals(t *testing.T, pg *realtest.Postgres) {
	space := filepath.Join(pg.Dir, "space")
	makeFolderOf(t, pg, space)
	pg.SQL(t, "postgres", `CREATE ROLE "a ""role"";" LOGIN PASSWORD 'canary' VALID UNTIL '2031-01-01'; CREATE ROLE staff; GRANT staff TO "a ""role"";" WITH ADMIN OPTION;
		ALTER ROLE staff SET search_path = 'a', 'b;c'; COMMENT ON ROLE staff IS E'who works\nhere; -- all';
		CREATE ROLE kept LOGIN PASSWORD 'before'; GRANT staff TO kept; GRANT SET ON PARAMETER log_statement TO staff`)
	pg.SQL(t, "postgres", "CREATE TABLESPACE shelf OWNER staff LOCATION '"+space+"'")
	pg.SQL(t, "postgres", "ALTER TABLESPACE shelf SET (seq_page_cost = 2); GRANT CREATE ON TABLESPACE shelf TO kept")
	p := pgSource(t, pg.DSN("the shop"))
	part := backup.Part{Name: "db" + globalsSuffix}
	was, _ := pgDump(t, p, part)
	if again, _ := pgDump(t, p, part); !bytes.Equal(was, again) {
		t.Error("two scripts of the same are not the same")
	}
	restore := func(script []byte, place string) error {
		dumptest.NothingLeft(t)
		return p.Restore(t.Context(), part, bytes.NewReader(script), place, dumptest.Task(t))
	}
	pg.SQL(t, "postgres", `DROP TABLESPACE shelf`)
	pg.SQL(t, "postgres", `REVOKE SET ON PARAMETER log_statement FROM staff; DROP ROLE "a ""role"";"; DROP ROLE staff; ALTER ROLE kept PASSWORD 'since'`)
	kept := pg.SQL(t, "postgres", "SELECT * FROM pg_authid WHERE rolname = 'kept'")
	for name, bad := range map[string]string{
		"cut":              string(was[:len(was)-200]),
		"something else":   strings.Replace(string(was), "CREATE ROLE staff;", "CREATE ROLE staff; DROP DATABASE big;", 1),
		"a command":        strings.Replace(string(was), "CREATE ROLE staff;", "CREATE ROLE staff;\n\\! true\n", 1),
		"a fault":          strings.Replace(string(was), "CREATE ROLE staff;", "CREATE ROLE staff;\nCREATE ROLE staff;", 1),
		"two at once":      strings.Replace(string(was), "ALTER ROLE staff", `ALTER ROLE staff SET a.b = '\'; DROP DATABASE big; --'; ALTER ROLE staff`, 1) + "SET standard_conforming_strings = off;",
		"an open quote":    strings.Replace(string(was), "CREATE ROLE staff;", "CREATE ROLE 'staff;", 1),
		"another's string": strings.Replace(string(was), "SET standard_conforming_strings = on;", "SET standard_conforming_strings = off;", 1),
	} {
		if err := restore([]byte(bad), placeServer); err == nil {
			t.Errorf("%s: no error", name)
		}
		if pg.SQL(t, "postgres", "SELECT 1 FROM pg_roles WHERE rolname = 'staff'") != "" || !pgExists(t, pg, "big") {
			t.Fatalf("%s: it had its way", name)
		}
	}
	if err := restore(was, "a database"); !errors.Is(err, backup.ErrInvalid) || !strings.Contains(err.Error(), `"server"`) {
		t.Errorf("into a database: %v", err)
	}
	for range 2 { // the second time all is there
		if err := restore(was, placeServer); err != nil {
			t.Fatal(err)
		}
	}
	if now := pg.SQL(t, "postgres", "SELECT * FROM pg_authid WHERE rolname = 'kept'"); now != kept {
		t.Errorf("a role that was there changed: %s, was %s", now, kept)
	}
	pg.SQL(t, "postgres", "ALTER ROLE kept PASSWORD 'before'")
	now, _ := pgDump(t, p, part)
	salted := func(dump []byte) string { // the password of kept was made anew
		lines := slices.DeleteFunc(strings.Split(string(dump), "\n"), func(l string) bool { return strings.HasPrefix(l, "ALTER ROLE kept WITH") })
		return strings.Join(lines, "\n")
	}
	if salted(now) != salted(was) {
		t.Errorf("%s\nwas\n%s", now, was)
	}
	pg.SQL(t, "postgres", "DROP TABLESPACE shelf")
}

// makeFolderOf makes a folder that belongs to the server's user.
func makeFolderOf(t *testing.T, pg *realtest.Postgres, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(pg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	if err := os.Chown(path, int(owner.Uid), int(owner.Gid)); err != nil {
		t.Fatal(err)
	}
}

func TestSplitStatements(t *testing.T) {
	for script, want := range map[string][]string{
		"":                                     nil,
		"a; b ;":                               {"a", "b"},
		"a ';' ';''x' \";\"\"\" b;":            {`a ';' ';''x' ";""" b`},
		"a -- ; b\n c;":                        {"a   c"},
		"a /* ; /* ; */ ; */ b;":               {"a   b"},
		"E'\\';' e'\\\\' x;":                   {`E'\';' e'\\' x`},
		"namE'\\';":                            {`namE'\'`},
		"$$;$$ $a$;$$;$a$ $1 x$y$z;":           {"$$;$$ $a$;$$;$a$ $1 x$y$z"},
		"\\restrict a1\na;\n\\unrestrict a1\n": {"a"},
		"a":                                    {"error"},
		"a '":                                  {"error"},
		"a /* ":                                {"error"},
		"a \\restrict a\n;":                    {"error"},
		"\\! x\n":                              {"error"},
		"\\restrict a b\n":                     {"error"},
	} {
		got, err := splitStatements(script)
		if (err != nil) != (len(want) == 1 && want[0] == "error") || err == nil && !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v; want %q", script, got, err, want)
		}
	}
}

func FuzzSplitStatements(f *testing.F) {
	f.Add("CREATE ROLE a; ALTER ROLE a SET b TO 'c;', E'\\''; -- d\n/* e */ $$;$$;")
	f.Fuzz(func(t *testing.T, script string) {
		statements, err := splitStatements(script)
		if err != nil {
			return
		}
		for _, s := range statements {
			if again, err := splitStatements(s + "\n;"); err != nil || len(again) != 1 {
				t.Errorf("%q: %q, then %q, %v", script, s, again, err)
			}
		}
	})
}

// What is held back comes when the end is known to be one, however the reader is read.
func TestHeldReader(t *testing.T) {
	text := strings.Repeat("0123456789", 10000)
	for _, keep := range []int{1, 1000} {
		for _, size := range []int{0, 1, 999, 1000, 1001, 33000, len(text)} {
			r := &heldReader{in: strings.NewReader(text[:size]), keep: keep, end: func(tail []byte) ([]byte, error) { return append(tail, '!'), nil }}
			if got, err := io.ReadAll(iotest.OneByteReader(r)); err != nil || string(got) != text[:size]+"!" {
				t.Errorf("keep %d of %d: %d bytes, %v", keep, size, len(got), err)
			}
			lost := errors.New("lost")
			r = &heldReader{in: io.MultiReader(strings.NewReader(text[:size]), iotest.ErrReader(lost)), keep: keep}
			got, err := io.ReadAll(r)
			if !errors.Is(err, lost) || len(got) > max(0, size-keep) {
				t.Errorf("keep %d of %d: %d bytes before the failure, %v", keep, size, len(got), err)
			}
		}
	}
}
