package repo_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// tiny is so little that every byte of its repository can be tried.
var tiny = content{"noise": noise(3000), "text": text(5, 4000), "empty": {}, "dir": nil, "dir/f": []byte("f"), "dir/g": noise(100)}

// tinyRepository has two snapshots, and an index file for each.
func tinyRepository(t *testing.T) *storage.Memory {
	t.Helper()
	st := new(storage.Memory)
	r := initRepo(t, st, repo.Options{})
	for _, files := range []content{{"first": noise(500)}, tiny} {
		if _, err := write(t.Context(), r, files); err != nil {
			t.Fatal(err)
		}
	}
	return st
}

// harmed is a storage in which one file is not what it was.
func harmed(t *testing.T, base repo.Storage, name string, harm func([]byte) []byte) *storage.Memory {
	t.Helper()
	st := new(storage.Memory)
	storagetest.Copy(t, st, base)
	storagetest.Write(t, st, name, harm(storagetest.Read(t, base, name)))
	return st
}

// finds tells whether the damage is found, by opening or by a check, and proves that no wrong byte comes out.
func finds(t *testing.T, st repo.Storage, readData bool) bool {
	t.Helper()
	r, err := repo.Open(t.Context(), st, []byte(password), repo.Options{KDF: cheap})
	if err != nil {
		return true
	}
	report, err := r.Check(t.Context(), repo.CheckOptions{ReadData: readData})
	readsNothingWrong(t, r)
	return err != nil || report.Errors() > 0
}

// readsNothingWrong reads whatever can be read: the right bytes come out, or fewer and an error.
func readsNothingWrong(t *testing.T, r *repo.Repository) {
	t.Helper()
	_ = r.LoadIndex(t.Context())
	all, _ := r.Snapshots(t.Context())
	for _, s := range all {
		for e, err := range r.Walk(t.Context(), s.Tree) {
			if err != nil {
				break
			}
			want, known := tiny[e.Path]
			if e.Node.Type != "file" || !known {
				continue
			}
			f, err := r.OpenFile(t.Context(), e.Node)
			if err != nil {
				continue
			}
			var got bytes.Buffer
			_, err = io.Copy(&got, f)
			f.Close()
			if err == nil && !bytes.Equal(got.Bytes(), want) || !bytes.HasPrefix(want, got.Bytes()) {
				t.Errorf("%s: wrong bytes were given out (%v)", e.Path, err)
			}
		}
	}
}

// TestEveryByteFlipped changes every single byte of the key, the config, the index files and the snapshots: a check finds each
// without reading the data. In packs, thousands of bits: a check of all data finds each. Never does a wrong byte come out.
func TestEveryByteFlipped(t *testing.T) {
	synctest.Test(t, testEveryByteFlipped)
}

func testEveryByteFlipped(t *testing.T) {
	base := tinyRepository(t)
	rng := rand.New(rand.NewPCG(realtest.Seed(t), 0))
	tried := 0
	for _, name := range storagetest.Names(t, base, "") {
		if strings.HasPrefix(name, "data/") {
			continue
		}
		step := 1
		if testing.Short() {
			step = 7
		}
		for i := 0; i < len(storagetest.Read(t, base, name)); i += step {
			bit := byte(1) << rng.IntN(8)
			st := harmed(t, base, name, func(data []byte) []byte { data[i] ^= bit; return data })
			if tried++; !finds(t, st, false) {
				t.Errorf("%s: bit %#x of byte %d is changed, and nobody notices", name, bit, i)
			}
		}
	}
	packs := storagetest.Names(t, base, "data")
	flips := 2000
	if realtest.Soak() {
		flips = 200_000
	}
	if testing.Short() {
		flips = 200
	}
	for range flips {
		name := packs[rng.IntN(len(packs))]
		where := rng.IntN(8 * len(storagetest.Read(t, base, name)))
		st := harmed(t, base, name, func(data []byte) []byte { data[where/8] ^= 1 << (where % 8); return data })
		if tried++; !finds(t, st, true) {
			t.Errorf("%s: bit %d is changed, and nobody notices", name, where)
		}
	}
	t.Logf("%d changes were tried", tried)
}

// TestEveryFileShortened cuts every file to every short length, and takes every file away in turn: nothing panics, and all of it
// is found without reading the data; but for a snapshot or key that is gone, which is for those to notice who remember it.
func TestEveryFileShortened(t *testing.T) {
	synctest.Test(t, testEveryFileShortened)
}

func testEveryFileShortened(t *testing.T) {
	base := tinyRepository(t)
	for _, name := range storagetest.Names(t, base, "") {
		size := len(storagetest.Read(t, base, name))
		for _, n := range []int{0, 1, 2, 3, 4, 15, 16, 17, 31, 32, 33, 35, 36, 37, 72, 73, size / 2, size - 1} {
			if n >= size {
				continue
			}
			st := harmed(t, base, name, func(data []byte) []byte { return data[:n] })
			if !finds(t, st, false) {
				t.Errorf("%s is cut to %d bytes, and nobody notices", name, n)
			}
		}
		st := new(storage.Memory)
		storagetest.Copy(t, st, base)
		storagetest.Remove(t, st, name)
		dir, _, _ := strings.Cut(name, "/")
		if found := finds(t, st, false); !found && dir != "snapshots" {
			t.Errorf("%s is gone, and nobody notices", name)
		}
	}
}

// TestReadsBesideDamage has index files and packs damaged at once, by chance: whatever is rescued from the packs is right.
func TestReadsBesideDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := tinyRepository(t)
		rng := rand.New(rand.NewPCG(realtest.Seed(t), 0))
		times := 300
		if realtest.Soak() {
			times = 20_000
		}
		for range times {
			st := new(storage.Memory)
			storagetest.Copy(t, st, base)
			var done []string
			for _, name := range storagetest.Names(t, base, "") {
				dir, _, _ := strings.Cut(name, "/")
				if dir != "index" && dir != "data" || rng.IntN(2) == 0 {
					continue
				}
				size := int64(len(storagetest.Read(t, st, name)))
				switch rng.IntN(3) {
				case 0:
					storagetest.Flip(t, st, name, rng.Int64N(8*size))
				case 1:
					storagetest.Truncate(t, st, name, rng.Int64N(size))
				case 2:
					storagetest.Remove(t, st, name)
				}
				done = append(done, name)
			}
			readsNothingWrong(t, openRepo(t, st))
			if t.Failed() {
				t.Fatal(fmt.Sprint("after damage of ", done))
			}
		}
	})
}
