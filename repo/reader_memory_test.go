package repo_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// mixed is a repository with a file of which some blobs are stored compressed, others plain.
func mixed(t *testing.T, o repo.Options) (st *storagetest.Faulty, r *repo.Repository, n repo.Node, data []byte) {
	t.Helper()
	memory := new(storage.Memory)
	o.Compression = repo.CompressionOff
	r = initRepo(t, memory, o)
	n = repo.Node{Name: "f", Type: "file"}
	add := func(r *repo.Repository, more []byte) {
		s, err := write(t.Context(), r, content{"f": more})
		if err != nil {
			t.Fatal(err)
		}
		f, err := r.Lookup(t.Context(), s.Tree, "/f")
		if err != nil {
			t.Fatal(err)
		}
		n.Content, data = append(n.Content, f.Content...), append(data, more...)
	}
	loose := noise(9 << 20)
	add(r, loose)
	add(r, loose[:100_000])
	r = openRepoWithIndex(t, memory)
	add(r, text(5, 9<<20))
	add(r, loose[:100_000]) // known, and stored plain
	n.Size = uint64(len(data))
	st = storagetest.NewFaulty(memory)
	return st, openWith(t, st, o), n, data
}

// openWith opens a repository with options, its index loaded.
func openWith(t *testing.T, st repo.Storage, o repo.Options) *repo.Repository {
	t.Helper()
	r, err := repo.Open(t.Context(), st, []byte(password), o)
	if err == nil {
		err = r.LoadIndex(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func openFile(t testing.TB, r *repo.Repository, n repo.Node) *repo.File {
	t.Helper()
	f, err := r.OpenFile(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestFrames(t *testing.T) {
	st, r, n, data := mixed(t, repo.Options{})
	d, err := zstd.NewReader(nil, zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	frames, ok := openFile(t, r, n).Frames(t.Context())
	if !ok {
		t.Fatal("no frames")
	}
	defer frames.Close()
	all, err := io.ReadAll(struct{ io.Reader }{frames})
	if err != nil || int64(len(all)) != frames.Size() || len(all) >= len(data) {
		t.Fatalf("%d bytes of frames, %d foretold, of %d: %v", len(all), frames.Size(), len(data), err)
	}
	if got, err := d.DecodeAll(all, nil); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes of %d, %v", len(got), len(data), err)
	}
	at := rand.IntN(len(all))
	if _, err := frames.Seek(int64(at), io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(frames); err != nil || !bytes.Equal(rest, all[at:]) {
		t.Errorf("from %d on: %d bytes, %v", at, len(rest), err)
	}
	empty := openFile(t, r, repo.Node{Name: "e", Type: "file", Content: []repo.ID{}})
	if f, ok := empty.Frames(t.Context()); ok || f != nil && f.Close() != nil {
		t.Error("frames of nothing")
	}
	for _, name := range storagetest.Names(t, st, "data") {
		storagetest.Flip(t, st, name, int64(len(storagetest.Read(t, st, name)))*4) // in the middle
	}
	if _, err := frames.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(frames); !errors.Is(err, repo.ErrDamaged) || !bytes.HasPrefix(all, got) {
		t.Errorf("damaged: %d bytes, %v", len(got), err)
	}
}

// gets is how many bytes of packs are fetched meanwhile.
func gets(st *storagetest.Faulty, f func()) (bytes int64) {
	before := len(st.Trace())
	f()
	for _, op := range st.Trace()[before:] {
		if op.Kind == storagetest.Get && len(op.Name) > 5 && op.Name[:5] == "data/" {
			bytes += op.L
		}
	}
	return bytes
}

// In a bubble: a reader that has to wait for its processor takes its consumer for stalled, gives back what it has read, and reads
// it again.
func TestRangesUseTheCacheAndReadNoFurther(t *testing.T) {
	synctest.Test(t, testRangesUseTheCacheAndReadNoFurther)
}

func testRangesUseTheCacheAndReadNoFurther(t *testing.T) {
	st, r, n, data := mixed(t, repo.Options{})
	part := func(off, length int) {
		t.Helper()
		f := openFile(t, r, n)
		defer f.Close()
		if _, err := f.Seek(int64(off), io.SeekStart); err != nil {
			t.Fatal(err)
		}
		f.Want(int64(off + length))
		got := make([]byte, length)
		if _, err := io.ReadFull(f, got); err != nil || !bytes.Equal(got, data[off:off+length]) {
			t.Fatalf("%d bytes at %d: %v", length, off, err)
		}
	}
	const chunk = 4<<20 + 100
	if cold := gets(st, func() { part(1<<20, 64<<10) }); cold == 0 || cold > 2*chunk {
		t.Errorf("64 KiB cost %d bytes", cold)
	}
	if warm := gets(st, func() { part(1<<20+1000, 10<<10) }); warm != 0 {
		t.Errorf("once more: %d bytes", warm)
	}
	if long := gets(st, func() { part(1<<20, 7<<20) }); long > 7<<20+2*chunk {
		t.Errorf("7 MiB cost %d bytes", long)
	}
	whole := func() {
		f := openFile(t, r, n)
		defer f.Close()
		if got, err := io.ReadAll(struct{ io.Reader }{f}); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	if first, again := gets(st, whole), gets(st, whole); first != again {
		t.Errorf("the whole is cached: %d bytes, then %d", first, again)
	}
	if warm := gets(st, func() { part(1<<20+500, 10<<10) }); warm != 0 {
		t.Errorf("reading the whole has emptied the cache: %d bytes", warm)
	}
}

// Many readers whose consumers all stall share a small memory: each comes to its first bytes, and in the end all of the
// memory is free. When they go on, they find the right bytes.
func TestStalledReadersGiveBack(t *testing.T) {
	memory := new(storage.Memory)
	data := text(7, 12<<20)
	r, n := oneFile(t, memory, data)
	_ = r
	synctest.Test(t, func(t *testing.T) {
		r := openWith(t, memory, repo.Options{ReadMemory: 10 << 20, Cores: 2})
		files := make([]*repo.File, 40)
		var all sync.WaitGroup
		for i := range files {
			f, err := r.OpenFile(context.Background(), n)
			if err != nil {
				t.Fatal(err)
			}
			files[i] = f
			all.Go(func() {
				if got, err := io.ReadAll(io.LimitReader(f, 5<<20)); err != nil || !bytes.Equal(got, data[:5<<20]) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
			})
		}
		all.Wait()
		time.Sleep(3 * time.Second)
		if held := repo.ReadMemoryHeld(r); held != 0 {
			t.Errorf("stalled readers hold %d bytes", held)
		}
		for _, f := range files {
			all.Go(func() {
				defer f.Close()
				rest, err := io.ReadAll(f)
				if err != nil || !bytes.Equal(rest, data[5<<20:]) {
					t.Errorf("%d bytes, %v", len(rest), err)
				}
			})
		}
		all.Wait()
		if held := repo.ReadMemoryHeld(r); held != 0 {
			t.Errorf("closed readers hold %d bytes", held)
		}
	})
}

// slowWriter takes its time, as a program does that restores.
type slowWriter struct{ bytes.Buffer }

func (w *slowWriter) Write(p []byte) (int, error) {
	time.Sleep(10 * time.Second)
	return w.Buffer.Write(p)
}

// A reader that waits inside WriteTo holds no more than what is being written, and others get on.
func TestStalledWriteTo(t *testing.T) {
	memory := new(storage.Memory)
	data := text(8, 25<<20)
	_, n := oneFile(t, memory, data)
	synctest.Test(t, func(t *testing.T) {
		r := openWith(t, memory, repo.Options{ReadMemory: 20 << 20, Cores: 2})
		f, err := r.OpenFile(context.Background(), n)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var w slowWriter
		done := make(chan error)
		go func() { _, err := f.WriteTo(&w); done <- err }()
		time.Sleep(5 * time.Second)
		if held := repo.ReadMemoryHeld(r); held == 0 || held > 5<<20 {
			t.Errorf("while the first piece is written: %d bytes", held)
		}
		if err := <-done; err != nil || !bytes.Equal(w.Bytes(), data) {
			t.Errorf("%d bytes, %v", w.Len(), err)
		}
	})
}

// A reader that waits for memory is freed by its context.
func TestWaitingForMemoryEnds(t *testing.T) {
	memory := new(storage.Memory)
	_, n := oneFile(t, memory, text(9, 12<<20))
	synctest.Test(t, func(t *testing.T) {
		r := openWith(t, memory, repo.Options{ReadMemory: 1 << 20, Cores: 2})
		busy, err := r.OpenFile(context.Background(), n)
		if err != nil {
			t.Fatal(err)
		}
		defer busy.Close()
		in := make(chan struct{})
		out := make(chan struct{})
		go func() {
			busy.WriteTo(writerFunc(func([]byte) (int, error) { close(in); <-out; return 0, io.ErrClosedPipe }))
		}()
		<-in
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		f, err := r.OpenFile(ctx, n)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.Read(make([]byte, 1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		close(out)
		synctest.Wait()
	})
}

type writerFunc func([]byte) (int, error)

func (w writerFunc) Write(p []byte) (int, error) { return w(p) }
