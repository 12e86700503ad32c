package repo

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// fakePacks invents packs of blobs, with IDs that hashing would give.
func fakePacks(seed uint64, packs, blobs int) map[ID][]packedBlob {
	rnd := rand.New(rand.NewPCG(seed, 0))
	all := make(map[ID][]packedBlob, packs)
	for range packs {
		list := make([]packedBlob, 0, blobs)
		offset := uint32(0)
		for range blobs {
			b := packedBlob{Type: BlobType(rnd.IntN(2)), ID: randomID(rnd), Offset: offset, Length: overhead + uint32(rnd.IntN(10_000))}
			if rnd.IntN(3) > 0 {
				b.Uncompressed = b.Length + uint32(rnd.IntN(10_000))
			}
			offset += b.Length
			list = append(list, b)
		}
		all[randomID(rnd)] = list
	}
	return all
}

func randomID(rnd *rand.Rand) (id ID) {
	for i := 0; i < len(id); i += 8 {
		binary.LittleEndian.PutUint64(id[i:], rnd.Uint64())
	}
	return id
}

// checkHolds fails unless the index holds exactly these packs.
func checkHolds(t *testing.T, x *index, packs map[ID][]packedBlob) {
	t.Helper()
	if got := x.packs(); !maps.EqualFunc(got, packs, slices.Equal) {
		t.Fatalf("the index holds %d packs, want %d", len(got), len(packs))
	}
	for pack, blobs := range packs {
		for _, b := range blobs {
			if l, ok := x.lookup(b.Type, b.ID); !ok || l != (location{pack, b}) {
				t.Fatalf("lookup %s %s = %+v, %v; want %s, %+v", b.Type, b.ID, l, ok, pack, b)
			}
			if c := x.copies(b.Type, b.ID); len(c) != 1 || c[0] != (location{pack, b}) {
				t.Fatalf("copies of %s = %+v", b.ID, c)
			}
			if _, ok := x.lookup(1-b.Type, b.ID); ok {
				t.Fatalf("%s is found as the other type too", b.ID)
			}
		}
	}
}

func TestIndex(t *testing.T) {
	r, st := newTestRepo(t, Options{})
	all := make(map[ID][]packedBlob)
	for i := range uint64(20) { // more and more, less and less, of all sizes
		packs := fakePacks(i, 1+int(i*7%5), 1+int(i*13%50))
		if _, err := r.saveIndex(t.Context(), packs); err != nil {
			t.Fatal(err)
		}
		maps.Copy(all, packs)
		checkHolds(t, r.index, all)
	}
	if n := len(r.index.state.Load().segments); n > 6 {
		t.Errorf("%d segments", n)
	}
	again, err := Open(t.Context(), st, []byte("test"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, repo := range []*Repository{r, again} { // what is known already, and what is not
		if err := repo.LoadIndex(t.Context()); err != nil {
			t.Fatal(err)
		}
		checkHolds(t, repo.index, all)
	}
	if _, ok := r.index.lookup(DataBlob, Hash([]byte("unknown"))); ok {
		t.Error("an unknown blob is found")
	}
	if len(r.index.copies(TreeBlob, ID{})) != 0 {
		t.Error("an unknown blob has copies")
	}
}

// TestIndexReload follows what another process does: it adds, and it prunes.
func TestIndexReload(t *testing.T) {
	us, st := newTestRepo(t, Options{})
	other, err := Open(t.Context(), st, []byte("test"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	load := func(want ...map[ID][]packedBlob) {
		t.Helper()
		if err := us.LoadIndex(t.Context()); err != nil {
			t.Fatal(err)
		}
		all := make(map[ID][]packedBlob)
		for _, w := range want {
			maps.Copy(all, w)
		}
		checkHolds(t, us.index, all)
	}
	save := func(r *Repository, packs map[ID][]packedBlob) ID {
		t.Helper()
		id, err := r.saveIndex(t.Context(), packs)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	a, b, c, d := fakePacks(1, 3, 3), fakePacks(2, 3, 3), fakePacks(3, 1, 3), fakePacks(4, 9, 3)
	load()
	fileA := save(other, a)
	load(a)
	fileB := save(us, b)
	load(a, b)
	save(other, c)
	load(a, b, c)
	save(other, d) // prune: a is folded into d's file, b is thrown away
	for _, id := range []ID{fileA, fileB} {
		if err := st.Delete(t.Context(), "index/"+id.String()); err != nil {
			t.Fatal(err)
		}
	}
	load(c, d)
	load(c, d)
}

// TestIndexLoadsOnlyNew proves that a reload reads no file that it has read before.
func TestIndexLoadsOnlyNew(t *testing.T) {
	_, dir := sampleRepo(t)
	gets := 0
	st := &faultStorage{dirStorage: dir, fail: func(op, name string) error {
		if op == "get" && strings.HasPrefix(name, "index/") {
			gets++
		}
		return nil
	}}
	r, err := Open(t.Context(), st, []byte("test"), Options{Cores: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.LoadIndex(t.Context()); err != nil || gets != 1 {
		t.Errorf("%d files read, %v", gets, err)
	}
	if _, err := r.saveIndex(t.Context(), fakePacks(1, 1, 1)); err != nil {
		t.Fatal(err)
	}
	if err := r.LoadIndex(t.Context()); err != nil || gets != 1 {
		t.Errorf("%d files read, %v", gets, err)
	}
}

// TestReserve does not let one small file make the others' room absurd.
func TestReserve(t *testing.T) {
	one := new(indexList)
	one.entries[DataBlob] = make([]indexEntry, 1000)
	for _, c := range []struct{ size, left, most int64 }{{100, 1 << 20, 1 << 15}, {0, 0, 2000}, {-1, -1, 2000}, {50_000, 100_000, 3000}} {
		var l indexList
		l.reserve(one, c.size, c.left)
		if n := cap(l.entries[DataBlob]); n < 1000 || int64(n) > c.most*5/4 || cap(l.entries[TreeBlob]) > 0 {
			t.Errorf("%+v: room for %d", c, n)
		}
	}
}

// TestIndexCopies finds a blob in each pack that holds it, once, however many files list the pack.
func TestIndexCopies(t *testing.T) {
	r, _ := newTestRepo(t, Options{})
	b := packedBlob{DataBlob, Hash([]byte("x")), 0, 100, 0}
	first := map[ID][]packedBlob{Hash([]byte("p1")): {b}}
	second := map[ID][]packedBlob{Hash([]byte("p2")): {b}, Hash([]byte("p1")): {b}}
	for _, packs := range []map[ID][]packedBlob{first, second} {
		if _, err := r.saveIndex(t.Context(), packs); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if c := r.index.copies(DataBlob, b.ID); len(c) != 2 || c[0].Pack == c[1].Pack {
			t.Errorf("copies = %+v", c)
		}
		if got := r.index.packs(); !maps.EqualFunc(got, second, slices.Equal) {
			t.Errorf("packs = %+v", got)
		}
		r = newRepository(r.storage, r.key, r.config, r.opt)
		if err := r.LoadIndex(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestIndexSplit writes several files when there are many blobs, and never a pack into two.
func TestIndexSplit(t *testing.T) {
	if testing.Short() {
		t.Skip("one thing after the other: no races to be found")
	}
	r, st := newTestRepo(t, Options{})
	packs := fakePacks(1, 13, 10_000)
	huge := fakePacks(2, 1, indexFileBlobs+1)
	maps.Copy(packs, huge)
	if _, err := r.saveIndex(t.Context(), packs); err != nil {
		t.Fatal(err)
	}
	files, err := listFiles(t.Context(), st, "index")
	if err != nil || len(files) < 4 || len(files) > 5 {
		t.Errorf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		if f.Size > 8<<20 {
			t.Errorf("%s has %d bytes", f.Name, f.Size)
		}
	}
	again := newRepository(r.storage, r.key, r.config, r.opt)
	seen := make(map[ID]bool)
	for id, s := range indexFiles(t, again) {
		if s.len() > indexFileBlobs && len(s.packs) > 1 {
			t.Errorf("%s lists %d blobs", id, s.len())
		}
		for _, p := range s.packs {
			if seen[p] {
				t.Errorf("pack %s is in two files", p)
			}
			seen[p] = true
		}
	}
	if len(seen) != len(packs) {
		t.Errorf("%d packs of %d", len(seen), len(packs))
	}
	if id, err := r.saveIndex(t.Context(), nil); err != nil || !id.IsZero() {
		t.Errorf("index of nothing: %s, %v", id, err)
	}
}

// indexFiles decodes every index file by itself.
func indexFiles(t *testing.T, r *Repository) map[ID]*indexList {
	t.Helper()
	load, err := loadFiles(t.Context(), r, "index",
		func(ID, FileInfo) bool { return true },
		func(_ ID, _ FileInfo, text []byte) (*indexList, error) { return decodeIndex(text, r.config.Version) })
	if err != nil || len(load.bad) > 0 {
		t.Fatal(err, load.bad)
	}
	return load.fresh
}

// TestIndexDamagedFile loads the others, names the bad one, and recovers when it is gone.
func TestIndexDamagedFile(t *testing.T) {
	r, st := newTestRepo(t, Options{})
	good, bad := fakePacks(1, 2, 2), fakePacks(2, 2, 2)
	if _, err := r.saveIndex(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	file, err := r.saveIndex(t.Context(), bad)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Put(t.Context(), "index/"+file.String(), []byte("rubbish")); err != nil {
		t.Fatal(err)
	}
	r = newRepository(r.storage, r.key, r.config, r.opt)
	for range 2 {
		if err := r.LoadIndex(t.Context()); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), file.String()) {
			t.Errorf("damaged index file: %v", err)
		}
		checkHolds(t, r.index, good)
	}
	if err := st.Delete(t.Context(), "index/"+file.String()); err != nil {
		t.Fatal(err)
	}
	if err := r.LoadIndex(t.Context()); err != nil {
		t.Error(err)
	}
	checkHolds(t, r.index, good)
}

// TestIndexRefuses decodes what no index file should hold, and what it may.
func TestIndexRefuses(t *testing.T) {
	id := Hash([]byte("x")).String()
	file := func(blob string) string {
		return `{"packs":[{"id":"` + id + `","blobs":[{"id":"` + id + `",` + blob + `}]}]}`
	}
	for _, text := range []string{
		``, `x`, `[]`, ` [{"id":"` + id + `","blobs":[]}]`, `{"packs":[{}]}`, `{"packs":[{"id":"xyz"}]}`, `{"packs":{}}`, `{"packs":[]} x`,
		`{"packs":[{"id":"` + strings.ToUpper(id) + `","blobs":[]}]}`,
		file(`"offset":0,"length":40`), file(`"type":"index","offset":0,"length":40`),
		file(`"type":"data","offset":-1,"length":40`), file(`"type":"data","offset":0,"length":31`),
		file(`"type":"data","offset":0,"length":-9223372036854775808`), file(`"type":"data","offset":4294967295,"length":40`),
		file(`"type":"data","offset":1,"length":9223372036854775807`), file(`"type":"data","offset":1.5,"length":40`),
		file(`"type":"data","offset":0,"length":40,"uncompressed_length":-1`),
		file(`"type":"data","offset":0,"length":40,"uncompressed_length":16777217`),
		file(`"type":"tree","offset":0,"length":40,"uncompressed_length":268435457`),
		file(`"type":"data","offset":0,"length":40,"uncompressed_length":4294967297`),
		file(`"type":"data","offset":0,"length":16777249`), file(`"type":"data","offset":0,"length":20000000,"uncompressed_length":1`),
		`{"packs":[{"id":"` + id + `","blobs":[{"type":"data","offset":0,"length":40}]}]}`,
	} {
		if s, err := decodeIndex([]byte(text), 2); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %+v, %v", text, s, err)
		}
	}
	for text, blobs := range map[string]int{
		`{}`: 0, `{"packs":null}`: 0, `{"packs":[]}`: 0, " {\n\"packs\" : [ ] , \"x\":1}\n": 0, `{"supersedes":["` + id + `"],"packs":[]}`: 0,
		`{"packs":[{"id":"` + id + `","blobs":null}]}`:                                          0,
		file(`"type":"data","offset":0,"length":40,"uncompressed_length":0`):                    1,
		file(`"length":32,"type":"tree","future":[{}],"offset":4294967263`):                     1,
		file(`"type":"data","offset":0,"length":16777248`):                                      1,
		file(`"type":"tree","offset":0,"length":400,"uncompressed_length":268435456`) + "\n":    1,
		file(`"type":"data", "offset":0, "length":40, "uncompressed_length":16777216`) + "\r\n": 1,
	} {
		if s, err := decodeIndex([]byte(text), 2); err != nil || s.len() != blobs {
			t.Errorf("%s: %+v, %v", text, s, err)
		}
	}
	if _, err := decodeIndex([]byte(file(`"type":"data","offset":0,"length":40,"uncompressed_length":10`)), 1); !errors.Is(err, ErrDamaged) {
		t.Errorf("compressed in version 1: %v", err)
	}
}

// TestIndexConcurrent looks up, saves and loads at the same time (for the race detector), and loses nothing.
func TestIndexConcurrent(t *testing.T) {
	r, _ := newTestRepo(t, Options{})
	base := fakePacks(0, 5, 20)
	if _, err := r.saveIndex(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var readers, writers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for ctx.Err() == nil {
				for _, blobs := range base {
					if _, ok := r.index.lookup(blobs[0].Type, blobs[0].ID); !ok {
						t.Error("a blob is missing for a moment")
						return
					}
				}
				runtime.Gosched()
			}
		})
		readers.Go(func() {
			for ctx.Err() == nil {
				if err := r.LoadIndex(t.Context()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for w := range uint64(2) {
		writers.Go(func() {
			for i := range uint64(20) {
				packs := fakePacks(1000*(w+1)+i, 2, 10)
				if _, err := r.saveIndex(t.Context(), packs); err != nil {
					t.Error(err)
				}
				for pack, blobs := range packs {
					if l, ok := r.index.lookup(blobs[9].Type, blobs[9].ID); !ok || l.Pack != pack {
						t.Error("a blob is missing after saving")
					}
				}
			}
		})
	}
	writers.Wait()
	cancel()
	readers.Wait()
	if n := len(r.index.packs()); n != 5+2*20*2 {
		t.Errorf("%d packs", n)
	}
}

// TestIndexEncoding holds what we write to what encoding/json makes of the same.
func TestIndexEncoding(t *testing.T) {
	packs := fakePacks(7, 3, 4)
	ids := slices.Collect(maps.Keys(packs))
	type blob struct {
		ID           ID     `json:"id"`
		Type         string `json:"type"`
		Offset       uint32 `json:"offset"`
		Length       uint32 `json:"length"`
		Uncompressed uint32 `json:"uncompressed_length,omitempty"`
	}
	type pack struct {
		ID    ID     `json:"id"`
		Blobs []blob `json:"blobs"`
	}
	var file struct {
		Packs []pack `json:"packs"`
	}
	for _, id := range ids {
		p := pack{ID: id}
		for _, b := range packs[id] {
			p.Blobs = append(p.Blobs, blob{b.ID, b.Type.String(), b.Offset, b.Length, b.Uncompressed})
		}
		file.Packs = append(file.Packs, p)
	}
	want, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := encodeIndex(ids, packs); string(got) != string(want) {
		t.Errorf("encoded as\n%s\nwant\n%s", got, want)
	}
}

func FuzzIndex(f *testing.F) {
	for _, name := range []string{"v1-0.14", "v2-latest", "pruned-0.14", "upgraded-v1-to-v2"} {
		_, st, r := openFixture(f, name)
		files, err := listFiles(f.Context(), st, "index")
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			id, _ := ParseID(file.Name[len("index/"):])
			text, err := r.loadUnpacked(f.Context(), "index", id)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	packs := fakePacks(1, 2, 2)
	f.Add(encodeIndex(slices.Collect(maps.Keys(packs)), packs))
	f.Fuzz(func(t *testing.T, text []byte) {
		for version := uint(1); version <= 2; version++ {
			list, err := decodeIndex(text, version)
			if err != nil {
				if !errors.Is(err, ErrDamaged) {
					t.Fatal(err)
				}
				continue
			}
			// White space makes the fast scanner give up: the slow decoder must see the same.
			slow, err := decodeIndex(append([]byte(" "), text...), version)
			if err != nil || !reflect.DeepEqual(list, slow) && list.len() > 0 {
				t.Fatalf("fast %+v, slow %+v, %v", list, slow, err)
			}
			s := newSegment(*list)
			for kind := range s.entries {
				for i := range s.entries[kind] {
					l := s.location(BlobType(kind), i)
					if err := l.validate(); err != nil || uint64(l.Offset)+uint64(l.Length) > math.MaxUint32 {
						t.Fatalf("%+v: %v", l, err)
					}
					if s.find(BlobType(kind), l.ID) < 0 {
						t.Fatalf("%s cannot be found", l.ID)
					}
				}
			}
		}
	})
}

// bigIndex is an index of n blobs in one segment, and some of their IDs.
func bigIndex(n int) (*index, []ID) {
	list := new(indexList)
	var ids []ID
	for pack, blobs := range fakePacks(1, n/100, 100) {
		list.addPack(pack)
		for _, b := range blobs {
			b.Type = DataBlob
			list.addBlob(b)
		}
		ids = append(ids, blobs[0].ID)
	}
	x := newIndex()
	x.add(ID{}, *list)
	return x, ids
}

func BenchmarkIndexLookup(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		x, ids := bigIndex(n)
		b.Run(fmt.Sprint("hit/", n), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if _, ok := x.lookup(DataBlob, ids[i%len(ids)]); !ok {
					b.Fatal("not found")
				}
			}
		})
		b.Run(fmt.Sprint("miss/", n), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				id := ids[i%len(ids)]
				id[31]++
				if _, ok := x.lookup(DataBlob, id); ok {
					b.Fatal("found")
				}
			}
		})
	}
}

func BenchmarkIndexDecode(b *testing.B) {
	packs := fakePacks(1, 500, 100)
	text := encodeIndex(slices.Collect(maps.Keys(packs)), packs)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeIndex(text, 2); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/50_000, "ns/blob")
}

func BenchmarkIndexEncode(b *testing.B) {
	packs := fakePacks(1, 500, 100)
	ids := slices.Collect(maps.Keys(packs))
	b.ReportAllocs()
	for b.Loop() {
		encodeIndex(ids, packs)
	}
}

func BenchmarkSegmentMerge(b *testing.B) {
	x, _ := bigIndex(1_000_000)
	y, _ := bigIndex(50_000)
	b.ReportAllocs()
	for b.Loop() {
		newSegment(concat(append(indexLists(x.state.Load().segments), indexLists(y.state.Load().segments)...)))
	}
}
