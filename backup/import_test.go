package backup_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// strict is a source that knows a whole dump by its last line.
type strict struct{ *backuptest.Source }

func (s strict) Verify(ctx context.Context, p backup.Part, r io.Reader, t *backup.Task) (backup.Facts, error) {
	data, err := io.ReadAll(r)
	if err == nil && !bytes.HasSuffix(data, []byte("-- whole\n")) {
		err = errors.New("its last line is missing")
	}
	return backup.Facts{Engine: "Strict 1.0", Checked: "last line there"}, err
}

func gzipped(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstandard(t testing.TB, text string, o ...zstd.EOption) []byte {
	t.Helper()
	w := must(zstd.NewWriter(nil, o...))(t)
	return w.EncodeAll([]byte(text), nil)
}

// bzip2ed is "insert 3;\n-- whole\n".
const bzip2ed = "\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\x45\x40\xea\xfb\x00\x00\x05\xd9\x80\x00\x10\x40\x02\x08\x08\x02\x65\x9c\x80\x20\x00\x31\x4c\x00\x01\x08\x6d\x41\x99\x24\x04\x1a\x06\xfc\xac\x22\x69\x5d\x7c\x5d\xc9\x14\xe1\x42\x41\x15\x03\xab\xec"

// oldDumps makes a folder of files.
func oldDumps(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		modified := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
		if err := os.Chtimes(path, modified, modified); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// imports runs an import to its end.
func imports(t testing.TB, e *backuptest.Env, q backup.ImportRequest) backup.Run {
	t.Helper()
	q.Job, q.Part = "shop", "db.sql"
	run, err := e.Import(t.Context(), "tester", q)
	if err != nil {
		t.Fatal(err)
	}
	return e.Wait(t, run.ID)
}

func texts(run backup.Run) string {
	var b strings.Builder
	for _, f := range run.Findings {
		fmt.Fprintf(&b, "%v %s: %s\n", f.Error, filepath.Base(f.File), f.Text)
	}
	return b.String()
}

func wantTexts(t *testing.T, run backup.Run, wanted ...string) {
	t.Helper()
	got := texts(run)
	if n := strings.Count(got, "\n"); n != len(wanted) {
		t.Errorf("%d findings, want %d", n, len(wanted))
	}
	for _, want := range wanted {
		if !strings.Contains(got, want) {
			t.Errorf("no finding says %q:\n%s", want, got)
		}
	}
}

func TestImport(t *testing.T) { synctest.Test(t, importAll) }

func importAll(t *testing.T) {
	untilJune2026()
	dir := oldDumps(t, map[string][]byte{
		"shop_2025-11-21_02-17-00.sql.gz": gzipped(t, "insert 1;\n-- whole\n"),
		"shop_2025-11-20.sql.zst":         zstandard(t, "insert 2;\n-- whole\n"),
		"shop-20251119T021700Z.bz2":       []byte(bzip2ed),
		"shop.sql":                        []byte("insert 4;\n-- whole\n"),
		".hidden":                         []byte("insert 5;\n-- whole\n"),
	})
	e := backuptest.New(t, func(c *backup.Config) {
		c.Jobs[0].Sources[0].Source = strict{c.Jobs[0].Sources[0].Source.(*backuptest.Source)}
	})
	q := backup.ImportRequest{Files: []string{dir + "/*", dir + "/shop.sql"}, DryRun: true}
	run := imports(t, e, q)
	wantTexts(t, run,
		"false shop-20251119T021700Z.bz2: of 2025-11-19 02:17:00 +0000, by its name: it would be imported, 59 B packed with bzip2",
		"false shop.sql: of 2026-01-02 03:04:05 +0000, by its time of change: it would be imported, 19 B\n",
		"false shop_2025-11-20.sql.zst: of 2025-11-20 00:00:00 +0000, by the day in its name: it would be",
		"false shop_2025-11-21_02-17-00.sql.gz: of 2025-11-21 02:17:00 +0000, by its name: it would be")
	if run.State != backup.StateOK || run.Summary != "4 files would be imported" {
		t.Errorf("%+v", run)
	}
	requireSnapshots(t, e, 0)

	q.DryRun = false
	run = imports(t, e, q)
	if run.State != backup.StateOK || !strings.HasPrefix(run.Summary, "4 files were imported: ") || run.Progress.Files != 4 ||
		run.Progress.Bytes != run.Progress.Total || run.Progress.New == 0 {
		t.Errorf("%+v", run)
	}
	wantTexts(t, run, "19 B packed with bzip2; bzip2 file read to its end, CRC-32 right; last line there",
		"packed with zstd; zstd file read to its end, XXH64 right; last line there",
		"packed with gzip; gzip file read to its end, CRC-32 right; last line there",
		"19 B; file read to its end; last line there")
	list := must(e.Snapshots(t.Context(), backup.SnapshotQuery{Job: "shop"}))(t)
	times := []string{"2026-01-02T03:04:05.000006Z", "2025-11-21T02:17:00Z", "2025-11-20T00:00:00Z", "2025-11-19T02:17:00Z"}
	contents := []string{"insert 4", "insert 1", "insert 2", "insert 3"}
	for i, s := range list.Snapshots {
		if got := s.Time.Format(time.RFC3339Nano); got != times[i] || strings.Join(s.Tags, " ") != "caddy-backup run-"+run.ID+" imported" || s.Host != "shop-server" {
			t.Errorf("%+v", s)
		}
		if got := string(e.Read(t, s.ID, "db.sql")); got != contents[i]+";\n-- whole\n" {
			t.Errorf("%s holds %q", s.ID, got)
		}
	}
	s := must(e.Snapshot(t.Context(), "", list.Snapshots[1].ID, ""))(t)
	if m := s.Manifest; m.Imported.File != dir+"/shop_2025-11-21_02-17-00.sql.gz" || m.Imported.Packing != "gzip" ||
		m.Imported.TimeFrom != "its name" || m.Parts[0].Engine != "Strict 1.0" || m.Parts[0].Source != "db" {
		t.Errorf("%+v", m)
	}

	// Again: nothing is twice, but a file that changed meanwhile is another dump.
	if err := os.WriteFile(dir+"/shop_2025-11-20.sql.zst", zstandard(t, "insert 22;\n-- whole\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run = imports(t, e, q)
	if run.State != backup.StateOK || !strings.HasPrefix(run.Summary, "1 file was imported, 3 had been before: ") {
		t.Errorf("%+v", run)
	}
	wantTexts(t, run, "shop.sql: of 2026-01-02 03:04:05 +0000, by its time of change: it is there already, as snapshot "+list.Snapshots[0].ID[:8], "", "", "")
	requireSnapshots(t, e, 5)
	requireClean(t, e)

	// A backup is compared with the newest of all, and green.
	e.DB.Set("insert 4;\n-- whole\n")
	if s := e.Backed(t, "shop"); len(s.Tags) != 2 {
		t.Errorf("%+v", s)
	}
}

// TestImportOfDamaged: what is not whole becomes no snapshot, and says why; the others go on.
func TestImportOfDamaged(t *testing.T) { synctest.Test(t, importDamaged) }

func importDamaged(t *testing.T) {
	untilJune2026()
	long := strings.Repeat("insert into customer values (1);\n", 1<<12) + "-- whole\n"
	gz, zst := gzipped(t, long), zstandard(t, long)
	flipped := func(data []byte, at int) []byte {
		data = bytes.Clone(data)
		data[at] ^= 1
		return data
	}
	joined := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	cases := map[string]struct {
		data []byte
		want string // "" when it is good
	}{
		"good.gz":          {gz, ""},
		"members.gz":       {joined(gzipped(t, "insert;\n"), gz), ""},
		"frames.zst":       {joined(zstandard(t, "another;\n"), zst), ""},
		"plainzst.zst":     {zstandard(t, "more;\n"+long, zstd.WithEncoderCRC(false)), ""},
		"cut.gz":           {gz[:len(gz)/2], "the gzip file is cut off"},
		"cut-head.gz":      {gz[:9], "the gzip file is cut off"},
		"cut-sum.gz":       {gz[:len(gz)-1], "the gzip file is cut off"},
		"cut-member.gz":    {joined(gz, gz[:5]), "the gzip file is cut off"},
		"behind.gz":        {joined(gz, []byte("garbage behind the end")), "the gzip file is damaged"},
		"zeros.gz":         {joined(gz, make([]byte, 512)), "the gzip file is damaged"},
		"sum.gz":           {flipped(gz, len(gz)-6), "the gzip file is damaged"},
		"length.gz":        {flipped(gz, len(gz)-1), "the gzip file is damaged"},
		"cut.zst":          {zst[:len(zst)/2], "the zstd file is cut off"},
		"cut-sum.zst":      {zst[:len(zst)-1], "the zstd file is cut off"},
		"behind.zst":       {joined(zst, []byte("garbage behind the end")), "the zstd file is damaged"},
		"behind-short.zst": {joined(zst, []byte("x")), "the zstd file is cut off"},
		"sum.zst":          {flipped(zst, len(zst)-1), "the zstd file is damaged"},
		"cut.bz2":          {[]byte(bzip2ed[:len(bzip2ed)-3]), "the bzip2 file is cut off"},
		"behind.bz2":       {[]byte(bzip2ed + "garbage"), "the bzip2 file is damaged"},
		"sum.bz2":          {flipped([]byte(bzip2ed), len(bzip2ed)-3), "the bzip2 file is damaged"},
		"some.xz":          {[]byte("\xfd7zXZ\x00 and so on"), "it is packed with xz, which is not unpacked here"},
		"nothing":          {nil, "it is empty"},
		"nothing.gz":       {gzipped(t, ""), "it is not whole, or no dump of a source of kind fake: its last line is missing"},
		"half.sql":         {[]byte(long[:100]), "it is not whole, or no dump of a source of kind fake: its last line is missing"},
	}
	files := map[string][]byte{"2999-01-01.sql": []byte(long)}
	for name, c := range cases {
		files[name] = c.data
	}
	dir := oldDumps(t, files)
	if err := os.Mkdir(dir+"/folder", 0o700); err != nil {
		t.Fatal(err)
	}
	e := backuptest.New(t, func(c *backup.Config) {
		c.Jobs[0].Sources[0].Source = strict{c.Jobs[0].Sources[0].Source.(*backuptest.Source)}
	})
	run := imports(t, e, backup.ImportRequest{Files: []string{dir + "/*", dir + "/missing-*", dir + "/gone"}})
	got := texts(run)
	good := 0
	for name, c := range cases {
		line := "true " + name + ": not imported: " + c.want
		if c.want == "" {
			good++
			line = "false " + name + ": of "
		}
		if !strings.Contains(got, line) {
			t.Errorf("no line %q", line)
		}
	}
	for _, line := range []string{"true 2999-01-01.sql: not imported: by the day in its name it is of 2999-01-01", "true folder: not imported: it is a folder",
		"true missing-*: not imported: no such file", "true gone: not imported: no such file"} {
		if !strings.Contains(got, line) {
			t.Errorf("no line %q", line)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
	if want := fmt.Sprintf("%d files were not imported, the first: ", len(run.Findings)-good); run.State != backup.StateFailed ||
		!strings.HasPrefix(run.Error, want) || !strings.HasSuffix(run.Error, fmt.Sprintf("; %d files were imported", good)) {
		t.Errorf("%s: %s", run.State, run.Error)
	}
	requireSnapshots(t, e, good)
	requireClean(t, e)
}

// untilJune2026 waits, in the time of a synctest, until the dumps are no longer yet to come.
func untilJune2026() { time.Sleep(time.Until(time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC))) }

// growing is a file that somebody writes on while it is read.
type growing struct {
	strict
	path string
}

func (g growing) Verify(ctx context.Context, p backup.Part, r io.Reader, t *backup.Task) (backup.Facts, error) {
	facts, err := g.strict.Verify(ctx, p, r, t)
	f, err2 := os.OpenFile(g.path, os.O_APPEND|os.O_WRONLY, 0)
	if err2 == nil {
		_, err2 = f.WriteString("more")
		f.Close()
	}
	return facts, errors.Join(err, err2)
}

func TestImportOfAFileBeingWritten(t *testing.T) {
	path := oldDumps(t, map[string][]byte{"shop.sql": []byte("-- whole\n")}) + "/shop.sql"
	e := backuptest.New(t, func(c *backup.Config) {
		c.Jobs[0].Sources[0].Source = growing{strict{c.Jobs[0].Sources[0].Source.(*backuptest.Source)}, path}
	})
	run := imports(t, e, backup.ImportRequest{Files: []string{path}})
	if run.State != backup.StateFailed || !strings.Contains(run.Error, "it changed while it was read") {
		t.Errorf("%+v", run)
	}
	requireSnapshots(t, e, 0)
}

func TestImportRefuses(t *testing.T) {
	e := backuptest.New(t, func(c *backup.Config) {
		c.Jobs[0].Sources = append(c.Jobs[0].Sources, backup.NamedSource{Name: "media", Kind: "fake", Source: backuptest.Folder{"a": "b"}})
	})
	for _, c := range []struct {
		q    backup.ImportRequest
		want error
	}{
		{backup.ImportRequest{Job: "nosuch", Part: "db.sql", Files: []string{"/x"}}, backup.ErrNotFound},
		{backup.ImportRequest{Job: "shop", Part: "db.sql"}, backup.ErrInvalid},
		{backup.ImportRequest{Job: "shop", Part: "db.sql", Files: []string{"x"}}, backup.ErrInvalid},
		{backup.ImportRequest{Job: "shop", Part: "db.sql", Files: []string{"/x"}, TimeFormat: "%Y"}, backup.ErrInvalid},
	} {
		if _, err := e.Import(t.Context(), "tester", c.q); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c.q, err)
		}
	}
	for part, want := range map[string]string{
		"db": `job shop has no part "db"; there are: db.sql, media`, "media": "media is a folder",
	} {
		run := must(e.Import(t.Context(), "tester", backup.ImportRequest{Job: "shop", Part: part, Files: []string{"/x"}}))(t)
		if run = e.Wait(t, run.ID); !strings.Contains(run.Error, want) {
			t.Errorf("%s: %s", part, run.Error)
		}
	}
}

// TestImportFailsAndCrashesAnywhere has every operation on the storage fail, or be the last one of the process. Each
// snapshot that is there is whole; the next import adds exactly what is missing.
func TestImportFailsAndCrashesAnywhere(t *testing.T) {
	dir := oldDumps(t, map[string][]byte{
		"shop_2025-11-20.gz": gzipped(t, "insert 1;\n"),
		"shop_2025-11-21.gz": gzipped(t, "insert 1;\ninsert 2;\n"),
	})
	for _, how := range []storagetest.How{storagetest.Before, storagetest.Midway, storagetest.After} {
		if testing.Short() && how != storagetest.Before {
			continue // the race detector makes them slow
		}
		t.Run("fails "+how.String(), func(t *testing.T) {
			everyImport(t, dir, "", sameProcess, func(f *storagetest.Faulty, k int) { f.Inject(storagetest.Fault{At: k, Times: 1, How: how}) })
		})
		t.Run("crashes "+how.String(), func(t *testing.T) {
			everyImport(t, dir, t.TempDir(), afterCrash, func(f *storagetest.Faulty, k int) { f.Crash(k, how) })
		})
	}
}

func everyImport(t *testing.T, dir, dataDir string, lives func(*testing.T, *backuptest.Env) []*backuptest.Env, inject func(*storagetest.Faulty, int)) {
	k, step := realtest.Points(t)
	for hit := true; hit; k += step {
		synctest.Test(t, func(t *testing.T) {
			below := backuptest.Repository(t)
			f := storagetest.NewFaulty(below)
			e := newPlace(t, f, func(c *backup.Config) {
				c.Logger, c.DataDir = slog.New(slog.DiscardHandler), dataDir
				c.Repositories[0].Password = []byte(backuptest.Password)
			})
			untilJune2026()
			inject(f, k)
			run := imports(t, e, backup.ImportRequest{Files: []string{dir + "/*"}})
			hit = f.Fired() > 0
			f.Heal()
			if !hit && run.State != backup.StateOK {
				t.Errorf("without a fault the run is %s: %s", run.State, run.Error)
			}
			for _, e := range lives(t, e) {
				if run.State == backup.StateOK {
					requireSnapshots(t, e, 2)
				}
				if again := imports(t, e, backup.ImportRequest{Files: []string{dir + "/*"}}); again.State != backup.StateOK {
					t.Fatalf("the next import is %s: %s", again.State, again.Error)
				}
				requireSnapshots(t, e, 2)
				requireClean(t, e)
				list := must(e.Snapshots(t.Context(), backup.SnapshotQuery{}))(t)
				for i, want := range []string{"insert 1;\ninsert 2;\n", "insert 1;\n"} {
					if got := string(e.Read(t, list.Snapshots[i].ID, "db.sql")); got != want {
						t.Errorf("%q", got)
					}
				}
			}
			requireUnlocked(t, below)
		})
		if t.Failed() {
			t.Fatalf("at operation %d", k)
		}
		if !hit {
			t.Logf("%d operations", k-1)
		}
	}
}

// TestResticReadsImported has restic list, read and check what was imported.
func TestResticReadsImported(t *testing.T) {
	realtest.Need(t, "restic")
	dir := oldDumps(t, map[string][]byte{"shop_2025-11-21_0217.sql.gz": gzipped(t, "insert 1;\n"), "shop_2025-11-22.sql": []byte("insert 2;\n")})
	place := filepath.Join(t.TempDir(), "repository")
	e := newPlace(t, storage.NewLocal(place), func(c *backup.Config) { c.Repositories[0].Password, c.Zone = []byte(backuptest.Password), time.UTC })
	if run := imports(t, e, backup.ImportRequest{Files: []string{dir + "/*"}}); run.State != backup.StateOK {
		t.Fatal(run.Error)
	}
	restic := func(args ...string) string {
		t.Helper()
		return realtest.Restic(t, place, backuptest.Password, args...)
	}
	restic("check", "--read-data")
	var list []struct {
		ID   string
		Time time.Time
		Tags []string
	}
	if err := json.Unmarshal([]byte(restic("snapshots", "--json", "--tag", "imported")), &list); err != nil || len(list) != 2 {
		t.Fatalf("%v %v", list, err)
	}
	if !list[0].Time.Equal(time.Date(2025, 11, 21, 2, 17, 0, 0, time.UTC)) || len(list[0].Tags) != 3 {
		t.Errorf("%+v", list[0])
	}
	if got := restic("dump", list[0].ID, "/shop/db.sql"); got != "insert 1;\n" {
		t.Errorf("%q", got)
	}
}
