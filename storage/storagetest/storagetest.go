// Package storagetest holds every storage to the contract of repo.Storage, and breaks storages on purpose: Faulty makes
// operations go wrong, Flip and Truncate damage what is stored.
package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// Run tests a storage. open makes an empty one; it may be called several times, and clean up by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) repo.Storage) {
	tests := []struct {
		name string
		test func(t *testing.T, st repo.Storage)
	}{
		{"PutGet", testPutGet},
		{"Ranges", testRanges},
		{"Replace", testReplace},
		{"Missing", testMissing},
		{"List", testList},
		{"ListStopped", testListStopped},
		{"ModTime", testModTime},
		{"Delete", testDelete},
		{"DataIsCopied", testDataIsCopied},
		{"IllegalNames", testIllegalNames},
		{"Cancelled", testCancelled},
		{"CancelledMidway", testCancelledMidway},
		{"Concurrent", testConcurrent},
		{"ConcurrentReplace", testConcurrentReplace},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, open(t)) })
	}
}

// id is a file name as a repository has them.
func id(i int) string { return repo.Hash(fmt.Append(nil, i)).String() }

func packName(i int) string { return "data/" + id(i)[:2] + "/" + id(i) }

func random(n int) []byte {
	data := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n)})
	_, _ = r.Read(data)
	return data
}

func testPutGet(t *testing.T, st repo.Storage) {
	for i, size := range []int{0, 1, 4095, 4096, 1 << 20, 9<<20 + 1} {
		for _, name := range []string{packName(i), "index/" + id(i)} {
			want := random(size)
			Write(t, st, name, want)
			if got := Read(t, st, name); !bytes.Equal(got, want) {
				t.Errorf("%s: %d bytes came back as %d others", name, size, len(got))
			}
		}
	}
}

func testRanges(t *testing.T, st repo.Storage) {
	ctx := context.Background()
	want := random(1000)
	Write(t, st, "config", want)
	for _, r := range [][2]int64{{0, 1000}, {0, 0}, {0, 1}, {999, 1}, {1000, 0}, {10, 500}, {0, -1}, {999, -1}, {1000, -1}} {
		off, end := r[0], r[0]+r[1]
		if r[1] < 0 {
			end = 1000
		}
		got, err := st.Get(ctx, "config", off, r[1])
		if err != nil || !bytes.Equal(got, want[off:end]) {
			t.Errorf("range %d+%d: %d bytes, %v", off, r[1], len(got), err)
		}
	}
	const huge = 1<<63 - 1
	for _, r := range [][2]int64{{0, 1001}, {999, 2}, {1000, 1}, {1001, 0}, {1001, -1}, {0, huge}, {huge, huge}, {5, huge}, {huge, -1}} {
		got, err := st.Get(ctx, "config", r[0], r[1])
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("range %d+%d past the end: %d bytes, %v; want io.ErrUnexpectedEOF", r[0], r[1], len(got), err)
		}
	}
	if _, err := st.Get(ctx, "config", -1, 5); err == nil {
		t.Error("a negative offset passed")
	}
}

func testReplace(t *testing.T, st repo.Storage) {
	for _, size := range []int{500, 10, 2000, 0} {
		want := random(size)
		Write(t, st, "config", want)
		if got := Read(t, st, "config"); !bytes.Equal(got, want) {
			t.Fatalf("replaced with %d bytes, read %d", size, len(got))
		}
	}
	if got := Names(t, st, ""); !slices.Equal(got, []string{"config"}) {
		t.Errorf("files: %q", got)
	}
}

func testMissing(t *testing.T, st repo.Storage) {
	ctx := context.Background()
	check := func(when string) {
		t.Helper()
		for _, name := range []string{"config", "keys/" + id(1), packName(7)} {
			if _, err := st.Get(ctx, name, 0, -1); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: Get of %s: %v; want fs.ErrNotExist", when, name, err)
			}
			if err := st.Delete(ctx, name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: Delete of %s: %v; want fs.ErrNotExist", when, name, err)
			}
		}
		if got := Names(t, st, "locks"); len(got) != 0 {
			t.Errorf("%s: a missing folder lists %q", when, got)
		}
	}
	check("empty storage")
	Write(t, st, "keys/"+id(2), []byte("x"))
	Write(t, st, packName(8), []byte("x"))
	check("other files there")
	if _, err := st.Get(ctx, "keys", 0, -1); err == nil {
		t.Error("a folder was read as a file")
	}
}

func testList(t *testing.T, st repo.Storage) {
	sizes := map[string]int64{"config": 3, "datax": 4, "index/" + id(0): 0}
	for i := range 30 {
		sizes[packName(i)] = int64(i)
	}
	for name, size := range sizes {
		Write(t, st, name, random(int(size)))
	}
	for _, dir := range []string{"", "data", "data/" + id(3)[:2], "index", "snapshots"} {
		want := map[string]int64{}
		for name, size := range sizes {
			if dir == "" || strings.HasPrefix(name, dir+"/") {
				want[name] = size
			}
		}
		for fi, err := range st.List(context.Background(), dir) {
			if err != nil {
				t.Fatal(err)
			}
			if size, ok := want[fi.Name]; !ok || size != fi.Size {
				t.Errorf("List(%q) yields %q of %d bytes (twice, or not expected)", dir, fi.Name, fi.Size)
			}
			delete(want, fi.Name)
		}
		if len(want) > 0 {
			t.Errorf("List(%q) lacks %v", dir, want)
		}
	}
}

func testListStopped(t *testing.T, st repo.Storage) {
	for i := range 5 {
		Write(t, st, packName(i), nil)
	}
	n := 0
	for _, err := range st.List(context.Background(), "data") {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 2 {
			break // a storage that goes on yielding panics here
		}
	}
	for fi, err := range st.List(context.Background(), "data") {
		if err != nil {
			t.Fatal(err)
		}
		Remove(t, st, fi.Name) // prune does so
	}
	if got := Names(t, st, ""); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
}

// testModTime: the times of one storage agree with each other, to a few seconds. Its clock may show any other time than
// ours, and it may have none.
func testModTime(t *testing.T, st repo.Storage) {
	written := func(name string) time.Time {
		t.Helper()
		Write(t, st, name, []byte(name))
		for fi, err := range st.List(context.Background(), "locks") {
			if err != nil {
				t.Fatal(err)
			}
			if fi.Name == name {
				return fi.ModTime
			}
		}
		t.Fatalf("%s is not listed", name)
		return time.Time{}
	}
	start := time.Now()
	first, second := written("locks/"+id(1)), written("locks/"+id(2))
	again := written("locks/" + id(1)) // being replaced counts as being written
	const coarse = 2 * time.Second
	for _, later := range []time.Time{second, again} {
		if later.IsZero() != first.IsZero() {
			t.Errorf("one file has a time and another has none: %v, %v", first, later)
		}
		if d := later.Sub(first); d < -coarse || d > time.Since(start)+coarse {
			t.Errorf("files written within %s of each other bear times that are %s apart", time.Since(start), d)
		}
	}
}

func testDelete(t *testing.T, st repo.Storage) {
	for i := range 3 {
		Write(t, st, "locks/"+id(i), []byte("x"))
	}
	Remove(t, st, "locks/"+id(1))
	want := []string{"locks/" + id(0), "locks/" + id(2)}
	slices.Sort(want)
	if got := Names(t, st, ""); !slices.Equal(got, want) {
		t.Errorf("left %q, want %q", got, want)
	}
	Remove(t, st, "locks/"+id(0))
	Remove(t, st, "locks/"+id(2))
	if err := st.Delete(context.Background(), "locks"); err == nil {
		t.Error("a folder was deleted")
	}
	Write(t, st, "locks/"+id(1), []byte("again"))
	if got := Read(t, st, "locks/"+id(1)); string(got) != "again" {
		t.Errorf("after delete and put: %q", got)
	}
}

func testDataIsCopied(t *testing.T, st repo.Storage) {
	data := []byte("as it was")
	Write(t, st, "config", data)
	if string(data) != "as it was" {
		t.Errorf("Put changed the data to %q", data)
	}
	copy(data, "overwrite")
	got := Read(t, st, "config")
	if string(got) != "as it was" {
		t.Errorf("Put kept the caller's data: %q", got)
	}
	_ = append(got[:2], "overwritten"...)
	if got := Read(t, st, "config"); string(got) != "as it was" {
		t.Errorf("Get gave away its own data: %q", got)
	}
}

func testIllegalNames(t *testing.T, st repo.Storage) {
	ctx := context.Background()
	for _, name := range []string{"", ".", "..", "/", "/config", "../config", "a/../../b", "a/..", "./a", "a//b", "a/", "nul\x00"} {
		if st.Put(ctx, name, []byte("x")) == nil {
			t.Errorf("Put of %q passed", name)
		}
		if _, err := st.Get(ctx, name, 0, -1); err == nil {
			t.Errorf("Get of %q passed", name)
		}
		if st.Delete(ctx, name) == nil {
			t.Errorf("Delete of %q passed", name)
		}
	}
	for _, err := range st.List(ctx, "../") {
		if err == nil {
			t.Error("List of ../ yields files")
		}
	}
	if got := Names(t, st, ""); len(got) != 0 {
		t.Errorf("stored: %q", got)
	}
}

func testCancelled(t *testing.T, st repo.Storage) {
	Write(t, st, "config", []byte("x"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	is := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s after the context's end: %v", what, err)
		}
	}
	is("Put", st.Put(ctx, packName(1), []byte("x")))
	is("Delete", st.Delete(ctx, "config"))
	_, err := st.Get(ctx, "config", 0, -1)
	is("Get", err)
	err = nil
	for _, err = range st.List(ctx, "") {
	}
	is("List", err)
	if got := Names(t, st, ""); !slices.Equal(got, []string{"config"}) {
		t.Errorf("files: %q", got)
	}
}

// testCancelledMidway ends the context somewhere during a large Put: the file is absent or whole.
func testCancelledMidway(t *testing.T, st repo.Storage) {
	want := random(12 << 20)
	for i := range 4 {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- st.Put(ctx, packName(i), want) }()
		for range i * 1000 {
			_ = ctx.Err() // some way in
		}
		cancel()
		err := <-done
		got, getErr := st.Get(context.Background(), packName(i), 0, -1)
		if err == nil && getErr != nil || getErr == nil && !bytes.Equal(got, want) {
			t.Errorf("Put ended with %v, then Get: %d of %d bytes, %v", err, len(got), len(want), getErr)
		}
	}
	for _, name := range Names(t, st, "") {
		if len(name) != len(packName(0)) {
			t.Errorf("left behind: %s", name)
		}
	}
}

func testConcurrent(t *testing.T, st repo.Storage) {
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			ctx := context.Background()
			for i := range 10 {
				n := worker*100 + i
				want := random(1000 + n)
				if err := st.Put(ctx, packName(n), want); err != nil {
					t.Error(err)
				}
				if got, err := st.Get(ctx, packName(n), 0, -1); err != nil || !bytes.Equal(got, want) {
					t.Errorf("Get beside others: %d bytes, %v", len(got), err)
				}
				for _, err := range st.List(ctx, "data") {
					if err != nil {
						t.Errorf("List beside others: %v", err)
					}
				}
				if i%2 == 0 {
					if err := st.Delete(ctx, packName(n)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if got := Names(t, st, "data"); len(got) != 40 {
		t.Errorf("%d files are left of 40", len(got))
	}
}

// testConcurrentReplace has a file replaced while it is read: each reader sees one version, whole.
func testConcurrentReplace(t *testing.T, st repo.Storage) {
	ctx := context.Background()
	version := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, 1000+i) }
	Write(t, st, "config", version(0))
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 10 {
				if err := st.Put(ctx, "config", version(i)); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 30 {
				got, err := st.Get(ctx, "config", 0, -1)
				if err != nil || len(got) == 0 || !bytes.Equal(got, version(int(got[0]-'a'))) {
					t.Errorf("a torn read: %d bytes, %v", len(got), err)
				}
			}
		})
	}
	wg.Wait()
}
