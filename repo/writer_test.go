package repo_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/minio/sha256-simd"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

const password = "correct horse"

// cheap keys are for tests: opening costs nothing.
var cheap = repo.KDF{N: 16, R: 1, P: 1}

func initRepo(t testing.TB, st repo.Storage, o repo.Options) *repo.Repository {
	t.Helper()
	o.KDF = cheap
	r, err := repo.Init(t.Context(), st, []byte(password), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func openRepo(t testing.TB, st repo.Storage) *repo.Repository {
	t.Helper()
	r, err := repo.Open(t.Context(), st, []byte(password), repo.Options{KDF: cheap})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// content is a tree to write: file contents by path; a nil content makes a folder.
type content map[string][]byte

// write makes one snapshot as a backup does: lock, index, writer, commit.
func write(ctx context.Context, r *repo.Repository, files content) (repo.Snapshot, error) {
	lock, err := r.Lock(ctx, false)
	if err != nil {
		return repo.Snapshot{}, err
	}
	defer lock.Unlock()
	if err := r.LoadIndex(lock.Context()); err != nil {
		return repo.Snapshot{}, err
	}
	w, err := r.NewWriter(lock)
	if err != nil {
		return repo.Snapshot{}, err
	}
	defer w.Abort()
	if err := writeInto(w.Root(), "", files); err != nil {
		return repo.Snapshot{}, err
	}
	return w.Commit(repo.Snapshot{Time: time.Now(), Paths: []string{"/test"}, Hostname: "here", Tags: []string{"t"}})
}

// newWriter starts a snapshot under a lock; both are given up when the test ends.
func newWriter(t testing.TB, r *repo.Repository) *repo.Writer {
	t.Helper()
	lock, err := r.Lock(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Unlock() })
	w, err := r.NewWriter(lock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Abort)
	return w
}

func writeInto(d *repo.Dir, prefix string, files content) error {
	for _, path := range slices.Sorted(mapKeys(files)) {
		name, below := strings.CutPrefix(path, prefix)
		if !below || name == "" || strings.Contains(name, "/") {
			continue
		}
		n := repo.Node{Name: name, Mode: 0o644, ModTime: time.Unix(1e9, 5).UTC()}
		if files[path] != nil {
			f, err := d.Create(n)
			if err != nil {
				return err
			}
			if _, err := f.Write(files[path]); err != nil {
				return err
			}
			if err := f.Close(); err != nil {
				return err
			}
			continue
		}
		sub, err := d.Mkdir(repo.Node{Name: name, Mode: 0o755 | 1<<31})
		if err != nil {
			return err
		}
		if err := writeInto(sub, path+"/", files); err != nil {
			return err
		}
		sub.Finish()
	}
	return nil
}

func mapKeys(m content) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// verify proves that a snapshot holds these files and nothing else.
func verify(t testing.TB, r *repo.Repository, tree repo.ID, files content) {
	t.Helper()
	seen := 0
	for e, err := range r.Walk(t.Context(), tree) {
		if err != nil {
			t.Fatal(err)
		}
		want, ok := files[e.Path]
		if !ok {
			t.Errorf("%s was never written", e.Path)
			continue
		}
		seen++
		if e.Node.Type == "file" {
			if got := readAll(t, r, e.Node); !bytes.Equal(got, want) {
				t.Errorf("%s: %d bytes read, other than the %d written", e.Path, len(got), len(want))
			}
		}
	}
	if seen != len(files) {
		t.Errorf("%d of %d files found", seen, len(files))
	}
}

func readAll(t testing.TB, r *repo.Repository, n repo.Node) []byte {
	t.Helper()
	f, err := r.OpenFile(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b bytes.Buffer
	if _, err := f.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func mustCheck(t testing.TB, r *repo.Repository) *repo.CheckReport {
	t.Helper()
	report, err := r.Check(t.Context(), repo.CheckOptions{ReadData: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range report.Problems {
		t.Errorf("check: %+v", p)
	}
	return report
}

// noise is n bytes that do not compress; text is n bytes that do.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func text(seed uint64, n int) []byte {
	rng := mrand.New(mrand.NewPCG(seed, 0))
	b := make([]byte, 0, n+100)
	for len(b) < n {
		b = append(b, "INSERT INTO orders VALUES ("...)
		b = strconv.AppendInt(b, rng.Int64N(1e6), 10)
		b = append(b, ", 'customer "...)
		b = strconv.AppendInt(b, rng.Int64N(1e4), 10)
		b = append(b, "', "...)
		b = strconv.AppendInt(b, rng.Int64N(1e5), 10)
		b = append(b, ");\n"...)
	}
	return b[:n]
}

func sampleFiles() content {
	return content{
		"empty": {}, "one": []byte("x"), "big.sql": text(1, 11<<20), "noise": noise(5 << 20), "zeros": make([]byte, 9<<20),
		"dir": nil, "dir/same": []byte("x"), "dir/deep": nil, "dir/deep/a \"q\" \\ \n\xff": []byte("odd name"), "dir/none": nil,
	}
}

func TestWriteAndReadBack(t *testing.T) {
	for _, level := range []repo.Compression{repo.CompressionAuto, repo.CompressionOff, repo.CompressionMax} {
		if testing.Short() && level != repo.CompressionAuto {
			continue
		}
		t.Run(string(level), func(t *testing.T) {
			restic := t.TempDir()
			dir := filepath.Join(restic, "repo")
			r := initRepo(t, storage.NewLocal(dir), repo.Options{Compression: level})
			files := sampleFiles()
			s, err := write(t.Context(), r, files)
			if err != nil {
				t.Fatal(err)
			}
			verify(t, r, s.Tree, files)
			again := openRepo(t, storage.NewLocal(dir))
			found, err := again.FindSnapshot(t.Context(), "latest", repo.SnapshotFilter{})
			if err != nil || found.ID != s.ID {
				t.Fatalf("latest is %v, %v", found.ID, err)
			}
			verify(t, again, found.Tree, files)
			mustCheck(t, again)
			realtest.Restic(t, dir, password, "check", "--read-data")
			if got := realtest.Restic(t, dir, password, "dump", "latest", "/big.sql"); got != string(files["big.sql"]) {
				t.Error("restic dumps something else")
			}
		})
	}
}

// TestSecondBackupStoresNothing also has a small change in a stream store little. Where its cuts are the old ones again is for
// each repository's own polynomial to say: a few MiB behind the change, hardly ever more, so the change comes early.
func TestSecondBackupStoresNothing(t *testing.T) {
	r := initRepo(t, new(storage.Memory), repo.Options{})
	files := content{"dump": text(1, 24<<20)}
	first, err := write(t.Context(), r, files)
	if err != nil {
		t.Fatal(err)
	}
	second, err := write(t.Context(), r, files)
	if err != nil {
		t.Fatal(err)
	}
	if second.Tree != first.Tree || second.Summary.DataAdded != 0 {
		t.Errorf("the same again: tree %v, then %v; %d bytes added", first.Tree, second.Tree, second.Summary.DataAdded)
	}
	files["dump"] = slices.Insert(files["dump"], 1<<20, []byte("a new line\n")...)
	third, err := write(t.Context(), r, files)
	if err != nil {
		t.Fatal(err)
	}
	if n := third.Summary.DataAdded; n == 0 || n > 20<<20 {
		t.Errorf("a new line added %d bytes", n)
	}
	verify(t, r, third.Tree, files)
}

func TestSumAndOnFile(t *testing.T) {
	r := initRepo(t, new(storage.Memory), repo.Options{})
	w := newWriter(t, r)
	files := sampleFiles()
	folder, _ := w.Root().Mkdir(repo.Node{Name: "part"})
	var told []string
	folder.OnFile(func(path string, sum repo.FileSum) {
		told = append(told, path)
		if want := sha256.Sum256(files[path]); sum.SHA256 != want || sum.Size != int64(len(files[path])) {
			t.Errorf("%s: sum %v of %d bytes", path, sum.SHA256, sum.Size)
		}
	})
	if err := writeInto(folder, "", files); err != nil {
		t.Fatal(err)
	}
	if _, err := folder.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{"dir/deep/a \"q\" \\ \n\xff", "dir/same", "big.sql", "empty", "noise", "one", "zeros"}
	if !slices.Equal(told, want) {
		t.Errorf("told of %q", told)
	}
}

func TestReadFrom(t *testing.T) {
	r := initRepo(t, new(storage.Memory), repo.Options{})
	w := newWriter(t, r)
	data := text(3, 9<<20)
	for i, src := range []io.Reader{
		bytes.NewReader(data), iotest.DataErrReader(bytes.NewReader(data)), iotest.HalfReader(bytes.NewReader(data)),
	} {
		f, _ := w.Root().Create(repo.Node{Name: fmt.Sprint(i)})
		if n, err := f.ReadFrom(src); n != int64(len(data)) || err != nil {
			t.Fatalf("read %d, %v", n, err)
		}
		f.Close()
		if sum, err := f.Sum(); err != nil || sum.SHA256 != repo.Hash(data) {
			t.Errorf("reader %d: %v, %v", i, sum, err)
		}
	}
	f, _ := w.Root().Create(repo.Node{Name: "broken"})
	broken := errors.New("cable pulled")
	if _, err := f.ReadFrom(io.MultiReader(bytes.NewReader(data), iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("the reader's error came out as %v", err)
	}
}

func TestMistakesMakeNoSnapshot(t *testing.T) {
	for name, mistake := range map[string]func(*repo.Dir) error{
		"file not closed":   func(d *repo.Dir) error { _, err := d.Create(repo.Node{Name: "f"}); return err },
		"folder not closed": func(d *repo.Dir) error { _, err := d.Mkdir(repo.Node{Name: "f"}); return err },
		"same name twice": func(d *repo.Dir) error {
			return errors.Join(d.Add(repo.Node{Name: "l", Type: "symlink"}), d.Add(repo.Node{Name: "l", Type: "symlink"}))
		},
		"dotdot":  func(d *repo.Dir) error { _, err := d.Create(repo.Node{Name: ".."}); return err },
		"slash":   func(d *repo.Dir) error { _, err := d.Mkdir(repo.Node{Name: "a/b"}); return err },
		"no name": func(d *repo.Dir) error { return d.Add(repo.Node{Type: "fifo"}) },
		"lost folder": func(d *repo.Dir) error {
			s, _ := d.Mkdir(repo.Node{Name: "s"})
			s.Mkdir(repo.Node{Name: "t"})
			s.Finish()
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := initRepo(t, new(storage.Memory), repo.Options{})
			w := newWriter(t, r)
			err := mistake(w.Root())
			if err == nil {
				_, err = w.Commit(repo.Snapshot{Time: time.Now()})
			}
			if err == nil {
				t.Error("no error")
			}
			w.Abort()
			if all, err := r.Snapshots(t.Context()); len(all) != 0 || err != nil {
				t.Errorf("%d snapshots, %v", len(all), err)
			}
		})
	}
}

// TestMissingPackIsStoredAgain: a backup must not count on a pack that somebody deleted.
func TestMissingPackIsStoredAgain(t *testing.T) {
	st := new(storage.Memory)
	r := initRepo(t, st, repo.Options{})
	files := content{"dump": noise(5 << 20)}
	if _, err := write(t.Context(), r, files); err != nil {
		t.Fatal(err)
	}
	for f, err := range st.List(t.Context(), "data") {
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Delete(t.Context(), f.Name); err != nil {
			t.Fatal(err)
		}
	}
	s, err := write(t.Context(), r, files)
	if err != nil {
		t.Fatal(err)
	}
	verify(t, openRepoWithIndex(t, st), s.Tree, files)
}

func openRepoWithIndex(t testing.TB, st repo.Storage) *repo.Repository {
	r := openRepo(t, st)
	if err := r.LoadIndex(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

func BenchmarkWriter(b *testing.B) {
	data := text(1, 64<<20)
	for name, again := range map[string]bool{"first": false, "again": true} {
		b.Run(name, func(b *testing.B) {
			st := new(storage.Memory)
			r := initRepo(b, st, repo.Options{})
			if again {
				if _, err := write(b.Context(), r, content{"dump": data}); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if !again {
					b.StopTimer()
					r = initRepo(b, new(storage.Memory), repo.Options{})
					b.StartTimer()
				}
				if _, err := write(b.Context(), r, content{"dump": data}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestGivenUpBackupIsNotLost: what a backup had stored when it was given up, the next one finds. In a bubble, where no machine is
// too slow for the two seconds that are left for the index then.
func TestGivenUpBackupIsNotLost(t *testing.T) { synctest.Test(t, testGivenUpBackupIsNotLost) }

func testGivenUpBackupIsNotLost(t *testing.T) {
	st := new(storage.Memory)
	r := initRepo(t, st, repo.Options{PackSize: 4 << 20})
	data := noise(24 << 20)
	lock, err := r.Lock(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	w, err := r.NewWriter(lock)
	if err != nil {
		t.Fatal(err)
	}
	f, err := w.Root().Create(repo.Node{Name: "dump"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	for len(storagetest.Names(t, st, "data")) < 2 { // they are on their way: more than the budget was written
		time.Sleep(time.Millisecond)
	}
	w.Abort()
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
	report, err := r.Check(t.Context(), repo.CheckOptions{ReadData: true})
	if err != nil || report.Errors() > 0 || report.Packs < 2 {
		t.Errorf("check: %v, %+v", err, report)
	}
	s, err := write(t.Context(), r, content{"dump": data})
	if err != nil {
		t.Fatal(err)
	}
	if again := int64(s.Summary.DataAdded); again > int64(len(data))-report.Bytes+(64<<10) { // and a tree, and what frames add
		t.Errorf("%d bytes were stored again, though %d were there", again, report.Bytes)
	}
}

// TestDamagedPackIsStoredAgain: a backup must not count on a pack that a check found damaged.
func TestDamagedPackIsStoredAgain(t *testing.T) {
	st := new(storage.Memory)
	r := initRepo(t, st, repo.Options{})
	files := content{"dump": noise(5 << 20)}
	if _, err := write(t.Context(), r, files); err != nil {
		t.Fatal(err)
	}
	for _, name := range storagetest.Names(t, st, "data") {
		storagetest.Flip(t, st, name, 1000)
	}
	if report, err := r.Check(t.Context(), repo.CheckOptions{}); err != nil || len(report.DamagedPacks) != 1 {
		t.Errorf("a check of the structure, which reads trees: %v, %+v", err, report)
	}
	report, err := r.Check(t.Context(), repo.CheckOptions{ReadData: true})
	if err != nil || len(report.DamagedPacks) != 2 {
		t.Fatalf("check: %v, %+v", err, report)
	}
	r.Distrust(report.DamagedPacks)
	s, err := write(t.Context(), r, files)
	if err != nil {
		t.Fatal(err)
	}
	verify(t, openRepoWithIndex(t, st), s.Tree, files)
	r.Distrust(nil)
	if again, err := write(t.Context(), r, files); err != nil || again.Summary.DataAdded != 0 {
		t.Errorf("trusted again: %v, %v", again.Summary, err)
	}
}

// TestCommitNeedsTheLock: a lock that somebody removed while nobody looked must not cover a snapshot.
func TestCommitNeedsTheLock(t *testing.T) {
	st := new(storage.Memory)
	r := initRepo(t, st, repo.Options{})
	w := newWriter(t, r)
	for _, name := range storagetest.Names(t, st, "locks") {
		storagetest.Remove(t, st, name)
	}
	if _, err := w.Commit(repo.Snapshot{Time: time.Now()}); !errors.Is(err, repo.ErrLockLost) {
		t.Errorf("Commit without its lock: %v", err)
	}
	if names := storagetest.Names(t, st, "snapshots"); len(names) > 0 {
		t.Errorf("snapshots: %v", names)
	}
}

// TestManyTinyFiles: a pack never holds more blobs than its header and its index can list, and filling it takes linear time.
func TestManyTinyFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("covered by the long run")
	}
	st := new(storage.Memory)
	r := initRepo(t, st, repo.Options{PackSize: 128 << 20})
	files := content{}
	for i := range 120_000 {
		files[fmt.Sprintf("f%06d", i)] = fmt.Appendf(nil, "content %d", i)
	}
	s, err := write(t.Context(), r, files)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(storagetest.Names(t, st, "data")); n < 3 {
		t.Errorf("%d packs", n)
	}
	verify(t, r, s.Tree, content(files))
	mustCheck(t, r)
}
