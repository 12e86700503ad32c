package repo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// oneFile writes a file and gives its node.
func oneFile(t testing.TB, st repo.Storage, data []byte) (*repo.Repository, repo.Node) {
	t.Helper()
	r := initRepo(t, st, repo.Options{})
	s, err := write(t.Context(), r, content{"f": data})
	if err != nil {
		t.Fatal(err)
	}
	n, err := r.Lookup(t.Context(), s.Tree, "/f")
	if err != nil {
		t.Fatal(err)
	}
	return r, n
}

func TestFileIsAReader(t *testing.T) {
	data := text(1, 2000) // every byte is read by itself
	r, n := oneFile(t, new(storage.Memory), data)
	f, err := r.OpenFile(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := iotest.TestReader(f, data); err != nil {
		t.Error(err)
	}
}

func TestRandomAccess(t *testing.T) {
	data := text(2, 21<<20)
	r, n := oneFile(t, new(storage.Memory), data)
	f, err := r.OpenFile(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rng := rand.New(rand.NewPCG(1, 1))
	for range 60 {
		off, length := rng.IntN(len(data)), rng.IntN(3<<20)
		want := data[off:min(off+length, len(data))]
		if _, err := f.Seek(int64(off), io.SeekStart); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(io.LimitReader(f, int64(length)))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("read of %d at %d: %d bytes, %v", length, off, len(got), err)
		}
		at := make([]byte, len(want))
		if _, err := f.ReadAt(at, int64(off)); err != nil || !bytes.Equal(at, want) {
			t.Fatalf("ReadAt of %d at %d: %v", len(want), off, err)
		}
	}
	if _, err := f.Seek(5<<20, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	var rest bytes.Buffer
	if _, err := f.WriteTo(&rest); err != nil || !bytes.Equal(rest.Bytes(), data[5<<20:]) {
		t.Errorf("WriteTo from the middle: %d bytes, %v", rest.Len(), err)
	}
}

func TestReadingEnds(t *testing.T) {
	r, n := oneFile(t, new(storage.Memory), text(3, 21<<20))
	ctx, cancel := context.WithCancel(t.Context())
	f, err := r.OpenFile(ctx, n)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, f, 6<<20); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, f); !errors.Is(err, context.Canceled) {
		t.Errorf("after cancel: %v", err)
	}
	f.Close()
}

func TestLookup(t *testing.T) {
	r := initRepo(t, new(storage.Memory), repo.Options{})
	s, err := write(t.Context(), r, sampleFiles())
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		"": nil, "/": nil, "/dir": nil, "dir/deep/": nil, "/dir/same": nil, "/one": nil,
		"/nothing": repo.ErrNotFound, "/dir/nothing": repo.ErrNotFound, "/one/below": repo.ErrNotFolder, "/dir/../one": repo.ErrNotFound,
	} {
		if _, err := r.Lookup(t.Context(), s.Tree, path); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", path, err, want)
		}
	}
	n, _ := r.Lookup(t.Context(), s.Tree, "/dir")
	if _, err := r.OpenFile(t.Context(), n); !errors.Is(err, repo.ErrIsFolder) {
		t.Errorf("opening a folder: %v", err)
	}
}

func BenchmarkRead(b *testing.B) {
	data := text(1, 64<<20)
	r, n := oneFile(b, new(storage.Memory), data)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		f, err := r.OpenFile(b.Context(), n)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.WriteTo(io.Discard); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
}

// TestDamagedCopyBesideGoodOne: blobs lie twice, one copy damaged. Whichever is met first, and wherever in a batch, the
// bytes are right.
func TestDamagedCopyBesideGoodOne(t *testing.T) {
	st := new(storage.Memory)
	r := initRepo(t, st, repo.Options{Cores: 1})
	files, whole := content{}, []byte(nil)
	node := repo.Node{Name: "all", Type: "file"} // of many short blobs side by side, as others' repositories have them
	for i := range 12 {
		data := noise(3000 + i)
		files[fmt.Sprintf("f%02d", i)] = data
		whole = append(whole, data...)
		node.Content = append(node.Content, repo.Hash(data))
	}
	node.Size = uint64(len(whole))
	if _, err := write(t.Context(), r, files); err != nil {
		t.Fatal(err)
	}
	for _, name := range storagetest.Names(t, st, "data") {
		if size := len(storagetest.Read(t, st, name)); size > len(whole) { // the data, not the tree
			for bit := range int64(8) {
				storagetest.Flip(t, st, name, int64(size)*bit+5)
			}
		}
	}
	report, err := r.Check(t.Context(), repo.CheckOptions{ReadData: true})
	if err != nil || len(report.DamagedPacks) != 1 {
		t.Fatalf("check: %v, %+v", err, report)
	}
	r.Distrust(report.DamagedPacks)
	if _, err := write(t.Context(), r, files); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if got := readAll(t, r, node); !bytes.Equal(got, whole) {
			t.Errorf("%d bytes read, other than the %d written", len(got), len(whole))
		}
		r = openRepoWithIndex(t, st) // the copies may stand in another order
	}
}
