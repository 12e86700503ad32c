package dump

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
)

func TestSQLiteFaults(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	sound := filepath.Join(dir, "sound")
	makeDatabase(t, sound, "PRAGMA journal_mode=DELETE")
	data, err := os.ReadFile(sound)
	if err != nil {
		t.Fatal(err)
	}
	locked := file("locked", data)
	defer copyOfUs(t, "lock", locked)()
	for _, c := range []struct{ name, path, err string }{
		{"missing", filepath.Join(dir, "missing"), "missing is not there"},
		{"folder", dir, "not a regular file"},
		{"zero bytes", file("zero", nil), "an empty database is no backup"},
		{"text", file("text", bytes.Repeat([]byte("This is a text.\n"), 1000)), "is no SQLite database, or it is encrypted"},
		{"locked", locked, "locked by another program"},
		{"cut", file("cut", data[:len(data)/2]), "is damaged"},
		{"flipped", file("flipped", damage(data)), "is damaged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dumptest.NothingLeft(t)
			s := sqliteSource(t, c.path)
			s.busy = 200 * time.Millisecond
			n := &countingWriter{}
			_, err := s.Dump(t.Context(), backup.Part{}, n, dumptest.Task(t))
			if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), c.path) {
				t.Errorf("error = %v, want %q", err, c.err)
			}
			t.Log(err)
			if n.n > 0 {
				t.Errorf("%d bytes were written before the database was checked", n.n)
			}
		})
	}
	if _, err := os.Lstat(filepath.Join(dir, "missing")); err == nil {
		t.Error("the missing database was created")
	}
	t.Run("cancelled while locked", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		began := time.Now()
		s := sqliteSource(t, locked)
		s.busy = 5 * time.Minute
		_, err := s.Dump(ctx, backup.Part{}, io.Discard, dumptest.Task(t))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > time.Minute {
			t.Errorf("err = %v after %v", err, time.Since(began))
		}
	})
}

// damage flips bits in the headers of all pages but the first.
func damage(data []byte) []byte {
	data = bytes.Clone(data)
	for i := 4096; i < len(data); i += 4096 {
		data[i+5] ^= 0x55 // where the cells begin
	}
	return data
}

type countingWriter struct{ n int }

func (w *countingWriter) Write(p []byte) (int, error) { w.n += len(p); return len(p), nil }

// Every flipped bit in the structure of a database is found; one in the text of a row cannot be: SQLite keeps no sums.
func TestSQLiteDamageIsFound(t *testing.T) {
	dir := t.TempDir()
	sound := filepath.Join(dir, "sound")
	makeDatabase(t, sound, "PRAGMA journal_mode=DELETE")
	execute(t, sound, "VACUUM") // what is in an unused page is nobody's
	data, err := os.ReadFile(sound)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "flipped")
	for page := 1; page < len(data)/4096; page += 7 {
		flipped := bytes.Clone(data)
		flipped[page*4096+3] ^= 0x10 // the number of cells, or a pointer
		if err := os.WriteFile(path, flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := sqliteSource(t, path).Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t)); err == nil {
			t.Errorf("a flipped bit in page %d was not found", page+1)
		}
	}
}

// A schema may use what only its own program knows. That is told, and no reason not to back it up.
func TestSQLiteWithForeignFunctions(t *testing.T) {
	for name, c := range map[string]struct{ schema, known, checked, note string }{
		"check": {"CREATE TABLE a (b CHECK (abs(b) > 0))", "abs",
			"integrity_check: ok without CHECK constraints", "CHECK constraints were not"},
		"index": {"CREATE TABLE a (b); CREATE INDEX i ON a (abs(b))", "abs",
			"integrity_check: ok in part, see notes", "table a was not checked"},
		"collation": {"CREATE TABLE a (b TEXT COLLATE nocase PRIMARY KEY)", "nocase",
			"integrity_check: ok in part, see notes", "table a was not checked"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db")
			execute(t, path, c.schema+`; CREATE TABLE fine (a UNIQUE); INSERT INTO fine VALUES (1);
				PRAGMA writable_schema=1; UPDATE sqlite_schema SET sql = replace(sql, '`+c.known+`', 'theirs')`)
			s := sqliteSource(t, path)
			var b bytes.Buffer
			facts, err := s.Dump(t.Context(), backup.Part{}, &b, dumptest.Task(t))
			if err != nil {
				t.Fatal(err)
			}
			if facts.Checked != c.checked || !strings.Contains(strings.Join(facts.Notes, ";"), c.note) {
				t.Errorf("checked = %q, notes = %q", facts.Checked, facts.Notes)
			}
			if facts.Rows["fine"] != 1 {
				t.Errorf("rows = %v", facts.Rows)
			}
			if err := s.Restore(t.Context(), backup.Part{}, &b, path+"-restored", dumptest.Task(t)); err != nil {
				t.Error(err)
			}
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			copy(data[len(data)-4096:], "damage") // the table that can be checked
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t)); err == nil {
				t.Error("damage was not found")
			}
		})
	}
}

func TestSQLiteRestoreRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "db")
	makeDatabase(t, path, "PRAGMA journal_mode=DELETE")
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(path, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	s := sqliteSource(t, path)
	var b bytes.Buffer
	if _, err := s.Dump(t.Context(), backup.Part{}, &b, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	restore := func(place string) error {
		return s.Restore(t.Context(), backup.Part{}, bytes.NewReader(b.Bytes()), place, dumptest.Task(t))
	}
	if err := restore("relative"); !errors.Is(err, backup.ErrInvalid) {
		t.Error(err)
	}
	if err := restore(filepath.Join(dir, "no", "folder")); err == nil || !strings.Contains(err.Error(), "create the folder") {
		t.Error(err)
	}
	for _, suffix := range []string{"-wal", "-shm", "-journal"} {
		stale := filepath.Join(dir, "new"+suffix)
		if err := os.WriteFile(stale, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := restore(filepath.Join(dir, "new")); !errors.Is(err, backup.ErrConflict) || !strings.Contains(err.Error(), stale) {
			t.Errorf("with a stale %s: %v", suffix, err)
		}
		os.Remove(stale)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("nowhere", link); err != nil {
		t.Fatal(err)
	}
	if err := restore(link); !errors.Is(err, backup.ErrConflict) {
		t.Errorf("onto a dangling link: %v", err)
	}
	if err := restore(filepath.Join(dir, "new")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "new"))
	if err != nil || info.Mode() != 0o640 || os.Getuid() == 0 && info.Sys().(*syscall.Stat_t).Uid != 65534 {
		t.Errorf("mode and owner are not those of the source: %v, %v", info.Mode(), err)
	}
}

func TestSQLitePermissions(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to be somebody else")
	}
	run := func(path string) (string, error) {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(self)
		if err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(filepath.Dir(path), "..", "test-binary")
		if err := errors.Join(os.WriteFile(copied, data, 0o755), os.Chmod(copied, 0o755)); err != nil { // whatever our umask is
			t.Fatal(err)
		}
		cmd := exec.Command(copied)
		cmd.Env = append(os.Environ(), "DUMP_TEST_ROLE=dump", "DUMP_TEST_PATH="+path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	top, err := os.MkdirTemp("", "dump") // t.TempDir would not let the other user in
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(top)
	dir := filepath.Join(top, "data")
	if err := errors.Join(os.Chmod(top, 0o755), os.Mkdir(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "db")
	makeDatabase(t, path, "PRAGMA journal_mode=WAL")
	for _, c := range []struct {
		name      string
		file, dir os.FileMode
		want      string
		ok        bool
	}{
		{"unreadable", 0o600, 0o755, "cannot be opened by user nobody", false},
		{"folder not writable in WAL mode", 0o644, 0o755, "setfacl -m u:nobody:rwX", false},
		{"all allowed", 0o666, 0o777, "belong to user nobody during the dump", true},
	} {
		if err := errors.Join(os.Chmod(path, c.file), os.Chmod(dir, c.dir)); err != nil {
			t.Fatal(err)
		}
		out, err := run(path)
		t.Log(strings.TrimSpace(out))
		if (err == nil) != c.ok || !strings.Contains(out, c.want) || !strings.Contains(out, path) {
			t.Errorf("%s: err = %v, output = %s", c.name, err, out)
		}
	}
}
