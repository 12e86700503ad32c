package dump

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
)

// overwriting is a live database, a dump of what it was before, and what the live one holds now.
type overwriting struct {
	*SQLite
	dump   []byte
	stored backup.Stored
	was    map[string]string // digests of what was dumped
	is     map[string]string // digests of the live one
}

func newOverwriting(t *testing.T, before string) *overwriting {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shop.db")
	makeDatabase(t, path, before)
	x := &overwriting{SQLite: sqliteSource(t, path)}
	part := firstPart(t, x.SQLite)
	var b bytes.Buffer
	facts, err := x.Dump(t.Context(), part, &b, dumptest.Task(t))
	if err != nil {
		t.Fatal(err)
	}
	x.dump, x.stored = b.Bytes(), backup.Stored{Part: part, Facts: facts, Size: int64(b.Len())}
	x.was = sqliteDigests(t, path)
	execute(t, path, "DELETE FROM account WHERE id > 10; INSERT INTO log (text) VALUES ('newer')")
	x.is = sqliteDigests(t, path)
	return x
}

func firstPart(t *testing.T, s backup.Source) backup.Part {
	t.Helper()
	parts, err := s.Parts(t.Context(), "db")
	if err != nil {
		t.Fatal(err)
	}
	return parts[0]
}

// over restores over the live one.
func (x *overwriting) over(ctx context.Context, t *testing.T, r io.Reader, o backup.Over) error {
	t.Helper()
	task := dumptest.Task(t)
	if err := x.Ready(ctx, x.stored, o, task); err != nil && !errors.Is(err, backup.ErrAbsent) {
		return err
	}
	return x.Overwrite(ctx, x.stored, r, o, task)
}

// requireLive fails the test unless the live one holds what it should, and nothing lies beside it but what is named.
func (x *overwriting) requireLive(t *testing.T, want map[string]string, beside ...string) {
	t.Helper()
	entries, _ := filepath.Glob(filepath.Join(filepath.Dir(x.path), "*"))
	hidden, _ := filepath.Glob(filepath.Join(filepath.Dir(x.path), ".*"))
	for _, e := range append(entries, hidden...) {
		name := filepath.Base(e)
		known := name == "shop.db" || name == "shop.db-wal" || name == "shop.db-shm"
		for _, prefix := range beside {
			known = known || strings.HasPrefix(name, prefix)
		}
		if !known {
			t.Errorf("left behind: %s", name)
		}
	}
	if got := sqliteDigests(t, x.path); !maps.Equal(got, want) {
		t.Errorf("the live one holds %v, want %v", got, want)
	}
}

func TestSQLiteOverwrite(t *testing.T) {
	for name, before := range map[string]string{"WAL": "PRAGMA journal_mode=WAL", "journal": "PRAGMA journal_mode=DELETE"} {
		t.Run(name, func(t *testing.T) {
			x := newOverwriting(t, before)
			if err := os.Chmod(x.path, 0o640); err != nil {
				t.Fatal(err)
			}
			if live := x.Live(x.stored); live != x.path {
				t.Errorf("live = %s", live)
			}
			if err := x.over(t.Context(), t, bytes.NewReader(x.dump), backup.Over{}); err != nil {
				t.Fatal(err)
			}
			x.requireLive(t, x.was)
			if info, _ := os.Stat(x.path); info.Mode() != 0o640 {
				t.Errorf("mode %v", info.Mode())
			}
		})
	}
}

// TestSQLiteOverwriteFails has restores fail in every way: the live database is byte by byte what it was.
func TestSQLiteOverwriteFails(t *testing.T) {
	x := newOverwriting(t, "PRAGMA journal_mode=WAL")
	lost := errors.New("injected failure")
	half := x.dump[:len(x.dump)/2]
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	before, err := os.ReadFile(x.path)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		ctx  context.Context
		r    io.Reader
		want error
	}{
		"unreadable half-way":      {t.Context(), io.MultiReader(bytes.NewReader(half), iotest.ErrReader(lost)), lost},
		"unreadable at the end":    {t.Context(), io.MultiReader(bytes.NewReader(x.dump), iotest.ErrReader(lost)), lost},
		"cut":                      {t.Context(), bytes.NewReader(half), nil},
		"one byte short":           {t.Context(), bytes.NewReader(x.dump[:len(x.dump)-1]), nil},
		"nothing":                  {t.Context(), bytes.NewReader(nil), nil},
		"no database":              {t.Context(), strings.NewReader("DROP TABLE account; -- ../../etc/passwd"), nil},
		"a damaged page":           {t.Context(), bytes.NewReader(damaged(x.dump)), nil},
		"cancelled before":         {gone, bytes.NewReader(x.dump), context.Canceled},
		"cancelled at its reading": {t.Context(), nil, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, r := c.ctx, c.r
			if r == nil {
				c, stop := context.WithCancel(ctx)
				r = io.MultiReader(bytes.NewReader(half), readerFunc(func([]byte) (int, error) { stop(); return 0, nil }), bytes.NewReader(half))
				ctx = c
			}
			err := x.Overwrite(ctx, x.stored, r, backup.Over{}, dumptest.Task(t))
			if err == nil || c.want != nil && !errors.Is(err, c.want) || errors.Is(err, backup.ErrIncomplete) {
				t.Errorf("error = %v, want %v", err, c.want)
			}
			if after, _ := os.ReadFile(x.path); !bytes.Equal(before, after) {
				t.Error("the live one changed")
			}
			x.requireLive(t, x.is)
		})
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// damaged is a dump with zeros in the middle of its pages.
func damaged(dump []byte) []byte {
	bad := bytes.Clone(dump)
	for page := 4096; page+4096 <= len(bad); page += 4 * 4096 {
		clear(bad[page : page+200])
	}
	return bad
}

// TestSQLiteOverwriteInUse finds who has the database open, idle ones too.
func TestSQLiteOverwriteInUse(t *testing.T) {
	for _, role := range []string{"transfer", "lock", "idle"} {
		t.Run(role, func(t *testing.T) {
			x := newOverwriting(t, "PRAGMA journal_mode=WAL")
			stop := copyOfUs(t, role, x.path)
			err := x.over(t.Context(), t, bytes.NewReader(x.dump), backup.Over{})
			if !errors.Is(err, backup.ErrConflict) || !strings.Contains(err.Error(), "open by process") {
				t.Errorf("error = %v", err)
			}
			stop()
			if role == "lock" { // the others have written
				x.requireLive(t, x.is)
			}
			if err := x.over(t.Context(), t, bytes.NewReader(x.dump), backup.Over{}); err != nil {
				t.Fatal(err)
			}
			x.requireLive(t, x.was)
		})
	}
}

// TestSQLiteOverwriteForced takes the place of a database that is open: whoever has it open neither sees the new one nor
// harms it.
func TestSQLiteOverwriteForced(t *testing.T) {
	x := newOverwriting(t, "PRAGMA journal_mode=WAL")
	stop := copyOfUs(t, "idle", x.path)
	if err := x.over(t.Context(), t, bytes.NewReader(x.dump), backup.Over{Force: true}); err != nil {
		t.Fatal(err)
	}
	x.requireLive(t, x.was)
	stop() // it writes once more before it ends
	x.requireLive(t, x.was)
}

// TestSQLiteOverwriteBroken replaces what no dump could be made of, and keeps it.
func TestSQLiteOverwriteBroken(t *testing.T) {
	x := newOverwriting(t, "PRAGMA journal_mode=DELETE")
	if err := os.WriteFile(x.path, []byte("no database at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := x.over(t.Context(), t, bytes.NewReader(x.dump), backup.Over{Aside: true}); err != nil {
		t.Fatal(err)
	}
	x.requireLive(t, x.was, "shop.db.before-restore-")
	kept, _ := filepath.Glob(x.path + ".before-restore-*")
	if len(kept) != 1 {
		t.Fatal(kept)
	}
	if old, _ := os.ReadFile(kept[0]); string(old) != "no database at all" {
		t.Errorf("%q", old)
	}
	// And when there is none at all.
	os.Remove(x.path)
	os.Remove(kept[0])
	if err := x.over(t.Context(), t, bytes.NewReader(x.dump), backup.Over{Aside: true}); err != nil {
		t.Fatal(err)
	}
	x.requireLive(t, x.was)
}

// TestSQLiteOverwriteKept keeps one that others use: with what is in its WAL only.
func TestSQLiteOverwriteKept(t *testing.T) {
	x := newOverwriting(t, "PRAGMA journal_mode=WAL")
	c, err := openSQLite(x.path, "rw")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, text := range []string{"PRAGMA query_only=0", "PRAGMA wal_autocheckpoint=0", "INSERT INTO log (text) VALUES ('in the WAL')"} {
		if _, err := c.one(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	is := sqliteDigests(t, x.path)
	if err := x.over(t.Context(), t, bytes.NewReader(x.dump), backup.Over{Force: true, Aside: true}); err != nil {
		t.Fatal(err)
	}
	x.requireLive(t, x.was, "shop.db.before-restore-")
	kept, _ := filepath.Glob(x.path + ".before-restore-*z")
	if len(kept) != 1 {
		t.Fatal(kept)
	}
	if got := sqliteDigests(t, kept[0]); !maps.Equal(got, is) {
		t.Errorf("kept: %v, want %v", got, is)
	}
}

// TestSQLiteOverwriteLink leaves a link where it is.
func TestSQLiteOverwriteLink(t *testing.T) {
	x := newOverwriting(t, "PRAGMA journal_mode=WAL")
	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(x.path, link); err != nil {
		t.Fatal(err)
	}
	through := &overwriting{SQLite: sqliteSource(t, link), dump: x.dump, stored: x.stored}
	if err := through.over(t.Context(), t, bytes.NewReader(x.dump), backup.Over{}); err != nil {
		t.Fatal(err)
	}
	x.requireLive(t, x.was)
	if to, err := os.Readlink(link); err != nil || to != x.path {
		t.Errorf("the link leads to %s, %v", to, err)
	}
}

func TestSQLiteDrill(t *testing.T) {
	x := newOverwriting(t, "PRAGMA journal_mode=WAL")
	drill := func(t *testing.T, r io.Reader) (backup.Facts, error) {
		return x.Drill(t.Context(), x.stored, r, backup.Scratch{Dir: t.TempDir()}, dumptest.Task(t))
	}
	facts, err := drill(t, bytes.NewReader(x.dump))
	if err != nil {
		t.Fatal(err)
	}
	if facts.Engine == "" || facts.Checked != checkedWhole || !maps.Equal(facts.Rows, x.stored.Facts.Rows) || len(facts.Rows) == 0 {
		t.Errorf("%+v", facts)
	}
	for name, bad := range map[string][]byte{"cut": x.dump[:len(x.dump)/2], "damaged": damaged(x.dump), "empty": nil} {
		if facts, err := drill(t, bytes.NewReader(bad)); err == nil {
			t.Errorf("%s: %+v", name, facts)
		}
	}
	x.requireLive(t, x.is)
}
