package dump

import (
	"bytes"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
)

// TestSQLiteDisturbed has the file removed, replaced and written over in the middle of a dump: what is dumped is whole, or an error.
func TestSQLiteDisturbed(t *testing.T) {
	for _, mode := range []string{"WAL", "DELETE"} {
		for _, tc := range []struct {
			name    string
			disturb func(path string, other []byte) error
			err     string // in mode DELETE; in WAL mode others may write
			note    string
		}{
			{name: "removed", disturb: func(path string, _ []byte) error { return os.Remove(path) }, note: "removed or replaced"},
			{name: "replaced", disturb: func(path string, other []byte) error {
				if err := os.WriteFile(path+".new", other, 0o600); err != nil {
					return err
				}
				return os.Rename(path+".new", path)
			}, note: "removed or replaced"},
			{name: "written over", disturb: func(path string, other []byte) error { return os.WriteFile(path, other, 0o600) }, err: "does not heed"},
		} {
			if mode == "WAL" && tc.err != "" {
				continue
			}
			t.Run(mode+" "+tc.name, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "db")
				makeDatabase(t, path, "PRAGMA journal_mode="+mode)
				was := sqliteDigests(t, path)
				other, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				copy(other[4096:], make([]byte, 1<<10))
				var once sync.Once
				disturb := writerFunc(func(p []byte) (int, error) {
					once.Do(func() {
						if err := tc.disturb(path, other); err != nil {
							t.Error(err)
						}
					})
					return len(p), nil
				})
				var b bytes.Buffer
				facts, err := sqliteSource(t, path).Dump(t.Context(), backup.Part{}, io.MultiWriter(&b, disturb), dumptest.Task(t))
				if tc.err != "" {
					if err == nil || !strings.Contains(err.Error(), tc.err) {
						t.Error(err)
					}
					return
				}
				if err != nil || !strings.Contains(strings.Join(facts.Notes, " "), tc.note) {
					t.Fatal(facts.Notes, err)
				}
				restored := filepath.Join(t.TempDir(), "restored")
				if err := sqliteSource(t, path).Restore(t.Context(), backup.Part{}, &b, restored, dumptest.Task(t)); err != nil {
					t.Fatal(err)
				}
				requireEqual(t, sqliteDigests(t, restored), was)
			})
		}
	}
}

// TestSQLiteHotJournal dumps what a writer left who was killed in a transaction: what it was before that.
func TestSQLiteHotJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	makeDatabase(t, path, "PRAGMA journal_mode=DELETE")
	was := sqliteDigests(t, path)
	left := filepath.Join(t.TempDir(), "left")
	c, err := openSQLite(path, "rw")
	if err != nil {
		t.Fatal(err)
	}
	// With a cache this small, pages go to the file before the commit.
	for _, sql := range []string{"PRAGMA query_only=0", "PRAGMA cache_size=5", "BEGIN IMMEDIATE", "UPDATE account SET balance = balance + 1", "DELETE FROM log"} {
		if _, err := c.one(t.Context(), sql); err != nil {
			t.Fatal(sql, err)
		}
	}
	for _, ending := range []string{"", "-journal"} { // as they are found after the kill
		data, err := os.ReadFile(path + ending)
		if err == nil {
			err = os.WriteFile(left+ending, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	var b bytes.Buffer
	if _, err := sqliteSource(t, left).Dump(t.Context(), backup.Part{}, &b, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	restored := filepath.Join(t.TempDir(), "restored")
	if err := sqliteSource(t, left).Restore(t.Context(), backup.Part{}, &b, restored, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	requireEqual(t, sqliteDigests(t, restored), was)
}

// TestSQLiteLink dumps through a link that leads to the database.
func TestSQLiteLink(t *testing.T) {
	path, link := filepath.Join(t.TempDir(), "db"), filepath.Join(t.TempDir(), "link")
	makeDatabase(t, path, "PRAGMA journal_mode=WAL")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := sqliteSource(t, link).Dump(t.Context(), backup.Part{}, &b, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	restored := filepath.Join(t.TempDir(), "restored")
	if err := sqliteSource(t, link).Restore(t.Context(), backup.Part{}, &b, restored, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	requireEqual(t, sqliteDigests(t, restored), sqliteDigests(t, path))
}

// requireEqual compares two digests.
func requireEqual(t *testing.T, got, want map[string]string) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Errorf("%v\nwant %v", got, want)
	}
}
