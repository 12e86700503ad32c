package repo

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// rawBlob is a blob to be put into a pack as a test wants it.
type rawBlob struct {
	typ   BlobType
	plain []byte
	id    ID   // of other content; zero: of this
	pack  bool // compressed
}

// putPack stores and indexes a pack, whatever is in it.
func putPack(t testing.TB, r *Repository, blobs ...rawBlob) ID {
	t.Helper()
	var pack []byte
	var list []packedBlob
	for _, b := range blobs {
		p := packedBlob{Type: b.typ, ID: b.id, Offset: uint32(len(pack))}
		if b.id.IsZero() {
			p.ID = Hash(b.plain)
		}
		payload := b.plain
		if b.pack {
			payload = newCompressor(CompressionAuto).compress(nil, b.plain)
			p.Uncompressed = uint32(len(b.plain))
		}
		pack = r.key.seal(pack, payload)
		p.Length = uint32(len(pack)) - p.Offset
		list = append(list, p)
	}
	pack = appendHeader(pack, list, r.key)
	id := Hash(pack)
	if err := r.storage.Put(t.Context(), packName(id), pack); err != nil {
		t.Fatal(err)
	}
	if _, err := r.saveIndex(t.Context(), map[ID][]packedBlob{id: list}); err != nil {
		t.Fatal(err)
	}
	return id
}

// aTree is the tree blob of a folder with one file in these pieces.
func aTree(t testing.TB, pieces ...[]byte) []byte {
	t.Helper()
	n := Node{Name: "f", Type: "file"}
	for _, p := range pieces {
		n.Content, n.Size = append(n.Content, Hash(p)), n.Size+uint64(len(p))
	}
	text, err := encodeTree([]Node{n})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func putSnapshot(t testing.TB, r *Repository, tree []byte) {
	t.Helper()
	if _, err := r.saveSnapshot(t.Context(), Snapshot{Time: time.Now(), Tree: Hash(tree), Paths: []string{"/x"}}); err != nil {
		t.Fatal(err)
	}
}

func pruneAll(t testing.TB, r *Repository) (*PruneReport, error) {
	t.Helper()
	lock, err := r.Lock(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock()
	return r.Prune(t.Context(), lock, PruneOptions{MaxUnused: NoUnused})
}

func mustBeClean(t testing.TB, r *Repository) {
	t.Helper()
	report, err := r.Check(t.Context(), CheckOptions{ReadData: true})
	if err != nil || len(report.Problems) > 0 {
		t.Errorf("check: %+v, %v", report, err)
	}
}

// TestPruneMendsForm: trees and data that share a pack are parted, plain trees are compressed, and nothing else is changed
// about any blob.
func TestPruneMendsForm(t *testing.T) {
	r, st := newTestRepo(t, Options{})
	plain, packed := []byte("stored as it is"), bytes.Repeat([]byte("compressed "), 1000)
	tree := aTree(t, plain, packed, nil)
	mixed := putPack(t, r, rawBlob{typ: DataBlob, plain: plain}, rawBlob{typ: TreeBlob, plain: tree}, rawBlob{typ: DataBlob, plain: packed, pack: true},
		rawBlob{typ: DataBlob})
	putSnapshot(t, r, tree)
	before := r.index.packs()[mixed]
	report, err := pruneAll(t, r)
	if err != nil || report.PacksRepacked != 1 || report.PacksKept != 0 {
		t.Fatalf("%+v, %v", report, err)
	}
	mustBeClean(t, r)
	packs := r.index.packs()
	if _, still := packs[mixed]; still || len(packs) != 2 {
		t.Errorf("packs: %v", packs)
	}
	for _, b := range before {
		l, ok := r.index.lookup(b.Type, b.ID)
		if b.Type == TreeBlob && l.Uncompressed != uint32(len(tree)) || b.Type == DataBlob && (l.Uncompressed != b.Uncompressed || l.Length != b.Length) || !ok {
			t.Errorf("%+v became %+v, %v", b, l, ok)
		}
	}
	if report, err := pruneAll(t, r); err != nil || report.PacksRepacked+report.IndexFilesWritten+report.IndexFilesDeleted > 0 {
		t.Errorf("again: %+v, %v", report, err)
	}
	realtest.Restic(t, st.root, "test", "check", "--read-data")
}

// TestRepackTakesAnotherCopy when the one in its pack is damaged, and gives up with nothing deleted where there is none.
func TestRepackTakesAnotherCopy(t *testing.T) {
	kept, hole, other := noise(3000), noise(1000), noise(9000)
	wrong := slices.Clone(kept)
	wrong[5] ^= 1
	for _, c := range []struct {
		name  string
		first rawBlob // in the pack that is repacked
		flip  bool
		copy  bool
	}{
		{"a flipped bit, and a copy", rawBlob{plain: kept}, true, true},
		{"a flipped bit", rawBlob{plain: kept}, true, false},
		{"wrong content under a right MAC, and a copy", rawBlob{plain: wrong, id: Hash(kept)}, false, true},
		{"wrong content under a right MAC", rawBlob{plain: wrong, id: Hash(kept)}, false, false},
		{"a wrong length, and a copy", rawBlob{plain: kept[:2999], id: Hash(kept), pack: true}, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, st := newTestRepo(t, Options{})
			tree := aTree(t, kept)
			putPack(t, r, rawBlob{typ: TreeBlob, plain: tree, pack: true})
			bad := putPack(t, r, c.first, rawBlob{plain: hole})
			if c.flip {
				p := st.path(packName(bad))
				data, err := os.ReadFile(p)
				if err != nil {
					t.Fatal(err)
				}
				data[100] ^= 4
				if err := os.WriteFile(p, data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if c.copy { // the other pack is needed less, so that the copy in it does not count
				putPack(t, r, rawBlob{plain: other}, rawBlob{plain: kept})
			}
			putSnapshot(t, r, tree)
			before := allNames(t, st)
			report, err := pruneAll(t, r)
			if !c.copy {
				if !errors.Is(err, ErrDamaged) || report == nil || !strings.Contains(err.Error(), Hash(kept).String()) {
					t.Errorf("%+v, %v", report, err)
				}
				after := allNames(t, st)
				for _, name := range before {
					if !slices.Contains(after, name) {
						t.Errorf("%s was deleted", name)
					}
				}
				return
			}
			if err != nil || report.PacksRepacked != 1 || report.PacksDeleted != 1 {
				t.Fatalf("%+v, %v", report, err)
			}
			mustBeClean(t, r)
			if data, err := r.readBlob(t.Context(), DataBlob, Hash(kept), nil, r.borrowScratch()); err != nil || !bytes.Equal(data, kept) {
				t.Errorf("%d bytes, %v", len(data), err)
			}
		})
	}
}

// TestPruneGoesOn: what a prune had copied that was given up, the next one need not copy again. In a bubble, where no machine is too
// slow for the two seconds that are left for the index then.
func TestPruneGoesOn(t *testing.T) { synctest.Test(t, testPruneGoesOn) }

func testPruneGoesOn(t *testing.T) {
	r, _ := newTestRepo(t, Options{PackSize: 4 << 20})
	var kept [][]byte
	for i := range 12 {
		data := append(noise(1<<20), byte(i))
		putPack(t, r, rawBlob{plain: data}, rawBlob{plain: append([]byte("a hole"), data...)})
		kept = append(kept, data)
	}
	tree := aTree(t, kept...)
	putPack(t, r, rawBlob{typ: TreeBlob, plain: tree, pack: true})
	putSnapshot(t, r, tree)
	lock, err := r.Lock(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	report, err := r.Prune(ctx, lock, PruneOptions{MaxUnused: NoUnused, Progress: func(p PruneProgress) {
		if p.Step == PruneRepacking && p.Done > 9<<20 { // the third pack is being filled, so that the first is stored
			cancel()
		}
	}})
	_ = lock.Unlock()
	if !errors.Is(err, context.Canceled) || report.PacksRepacked != 12 || report.IndexFilesWritten != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	mustBeClean(t, r)
	report, err = pruneAll(t, r)
	if err != nil || report.PacksRepacked >= 12 || report.PacksDeleted == 0 || report.BytesLeftUnused != 0 {
		t.Errorf("%+v, %v", report, err)
	}
	mustBeClean(t, r)
}

func allNames(t testing.TB, st Storage) (names []string) {
	t.Helper()
	for f, err := range st.List(context.Background(), "") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, f.Name)
	}
	return names
}

// TestPruneListsPacksOnce: a crash of a prune, or another program, leaves packs in two index files, or half in each.
func TestPruneListsPacksOnce(t *testing.T) {
	r, st := newTestRepo(t, Options{})
	a, b := noise(1000), noise(2000)
	tree := aTree(t, a, b)
	putPack(t, r, rawBlob{typ: TreeBlob, plain: tree, pack: true})
	pack := putPack(t, r, rawBlob{plain: a}, rawBlob{plain: b})
	blobs := r.index.packs()[pack]
	for _, some := range [][]packedBlob{blobs, blobs[:1], blobs[1:]} {
		if _, err := r.saveIndex(t.Context(), map[ID][]packedBlob{pack: some}); err != nil {
			t.Fatal(err)
		}
	}
	putSnapshot(t, r, tree)
	report, err := pruneAll(t, r)
	if err != nil || report.PacksKept != 2 || report.IndexFilesDeleted != 4 || report.IndexFilesWritten != 1 {
		t.Errorf("%+v, %v", report, err)
	}
	mustBeClean(t, r)
	out := realtest.Restic(t, st.root, "test", "check", "--read-data")
	if strings.Contains(out, "several") {
		t.Error(out)
	}
}

// TestPruneKeepsYoungOrphans: a pack in no index goes when the storage's clock says that it is a day old; where the storage
// does not tell, it stays.
func TestPruneKeepsYoungOrphans(t *testing.T) {
	r, st := newTestRepo(t, Options{})
	tree := aTree(t)
	putPack(t, r, rawBlob{typ: TreeBlob, plain: tree, pack: true})
	putSnapshot(t, r, tree)
	ages := map[string]time.Duration{"young": 23 * time.Hour, "old": 25 * time.Hour, "of tomorrow": -24 * time.Hour}
	for what, age := range ages {
		name := packName(Hash([]byte(what)))
		if err := st.Put(t.Context(), name, []byte(what)); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-age)
		if err := os.Chtimes(st.path(name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	timeless, err := Open(t.Context(), noTimes{st}, []byte("test"), cheap)
	if err != nil {
		t.Fatal(err)
	}
	if report, err := pruneAll(t, timeless); err != nil || report.PacksUnindexed != 0 || report.PacksTooYoung != 3 {
		t.Errorf("without times: %+v, %v", report, err)
	}
	report, err := pruneAll(t, r)
	if err != nil || report.PacksUnindexed != 1 || report.PacksTooYoung != 2 || report.BytesFreed != int64(len("old")) {
		t.Errorf("%+v, %v", report, err)
	}
	for what := range ages {
		_, err := os.Stat(st.path(packName(Hash([]byte(what)))))
		if gone := errors.Is(err, fs.ErrNotExist); gone != (what == "old") {
			t.Errorf("the pack that is %s is gone: %v", what, gone)
		}
	}
}

// noTimes is a storage that does not tell when files were written.
type noTimes struct{ Storage }

func (n noTimes) List(ctx context.Context, dir string) iter.Seq2[FileInfo, error] {
	return func(yield func(FileInfo, error) bool) {
		for f, err := range n.Storage.List(ctx, dir) {
			f.ModTime = time.Time{}
			if !yield(f, err) {
				return
			}
		}
	}
}

// TestPruneFixtures prunes repositories of every restic that we know: nothing changes for any snapshot, both checks are
// clean, and version 1 is left alone.
func TestPruneFixtures(t *testing.T) {
	for _, name := range fixtureNames(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, st, r := openFixture(t, name)
			for _, file := range allNames(t, st) {
				if strings.HasPrefix(file, "locks/") {
					if err := st.Delete(t.Context(), file); err != nil {
						t.Fatal(err)
					}
					continue
				}
				if err := os.Chtimes(st.path(file), time.Unix(1e9, 0), time.Unix(1e9, 0)); err != nil {
					t.Fatal(err)
				}
			}
			before := allNames(t, st)
			report, err := pruneAll(t, r)
			if f.Config.Version == 1 {
				if after := allNames(t, st); !errors.Is(err, ErrUnsupported) || !slices.Equal(before, after) {
					t.Errorf("%+v, %v, %q became %q", report, err, before, after)
				}
				return
			}
			if err != nil || report.BytesLeftUnused+int64(report.PacksTooYoung) > 0 {
				t.Fatalf("%+v, %v", report, err)
			}
			if again, err := pruneAll(t, r); err != nil || again.PacksRepacked+again.PacksDeleted+again.IndexFilesWritten > 0 {
				t.Errorf("again: %+v, %v", again, err)
			}
			f.checkSnapshots(t, r, st)
			if check, err := r.Check(t.Context(), CheckOptions{ReadData: true}); err != nil || check.Errors() > 0 {
				t.Errorf("check: %+v, %v", check, err)
			}
			if strings.HasPrefix(name, "upgraded") || strings.HasPrefix(name, "interrupted") {
				realtest.Restic(t, st.root, f.Passwords[len(f.Passwords)-1], "check", "--read-data")
			}
		})
	}
}
