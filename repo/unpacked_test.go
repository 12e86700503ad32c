package repo

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"
)

// sampleRepo is a repository with one file of each kind.
func sampleRepo(t testing.TB) (*Repository, dirStorage) {
	t.Helper()
	r, st := newTestRepo(t, Options{Location: "/srv/backups"})
	blob := packedBlob{DataBlob, Hash([]byte("x")), 0, 40, 0}
	if _, err := r.saveIndex(t.Context(), map[ID][]packedBlob{Hash([]byte("pack")): {blob}}); err != nil {
		t.Fatal(err)
	}
	s := Snapshot{Time: time.Date(2024, 3, 4, 5, 6, 7, 0, time.UTC), Tree: Hash([]byte("tree")), Paths: []string{"/x"}}
	if _, err := r.saveSnapshot(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if _, err := r.saveUnpacked(t.Context(), "locks", []byte(`{"time":"2024-03-04T05:06:07Z","exclusive":false,"hostname":"h","username":"u","pid":1}`)); err != nil {
		t.Fatal(err)
	}
	return r, st
}

// readAll opens a repository afresh and reads everything but packs.
func readAll(ctx context.Context, st Storage) error {
	r, err := Open(ctx, st, []byte("test"), Options{Location: "/srv/backups"})
	if err != nil {
		return err
	}
	if err := r.LoadIndex(ctx); err != nil {
		return err
	}
	if _, ok := r.index.lookup(DataBlob, Hash([]byte("x"))); !ok {
		return fs.ErrNotExist
	}
	list, err := r.Snapshots(ctx)
	if err != nil {
		return err
	}
	if len(list) != 1 || list[0].Tree != Hash([]byte("tree")) || list[0].Paths[0] != "/x" {
		return errors.New("wrong snapshots")
	}
	locks, err := r.Locks(ctx)
	if err == nil && len(locks) != 1 {
		return errors.New("wrong locks")
	}
	return err
}

// TestEveryBit flips every bit of every file, and cuts each at the lengths where something ends: it is an error, which
// names the file, and never a panic or something that is not there.
func TestEveryBit(t *testing.T) {
	_, st := sampleRepo(t)
	if err := readAll(t.Context(), st); err != nil {
		t.Fatal(err)
	}
	files := 0
	for f, err := range st.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		files++
		good, err := st.Get(t.Context(), f.Name, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		try := func(what string, n int, bad []byte) {
			t.Helper()
			if err := st.Put(t.Context(), f.Name, bad); err != nil {
				t.Fatal(err)
			}
			err := readAll(t.Context(), st)
			want := ErrDamaged
			switch {
			case f.Name == "config" && len(bad) == 0:
				want = ErrNoRepository
			case strings.HasPrefix(f.Name, "locks/") && len(bad) == 0:
				if err == nil || err.Error() != "wrong locks" { // no lock at all
					t.Fatalf("%s, %s %d: %v", f.Name, what, n, err)
				}
				return
			}
			if !errors.Is(err, want) || !strings.Contains(err.Error(), f.Name[strings.Index(f.Name, "/")+1:]) && f.Name != "config" ||
				!strings.Contains(err.Error(), "/srv/backups") {
				t.Fatalf("%s, %s %d: %v", f.Name, what, n, err)
			}
		}
		step := 1
		if testing.Short() {
			step = 13
		}
		for i := 0; i < len(good)*8; i += step {
			bad := bytes.Clone(good)
			bad[i/8] ^= 1 << (i % 8)
			try("bit flipped", i, bad)
		}
		for _, n := range []int{0, 1, 15, 16, 31, 32, 33, len(good) - 1} {
			try("cut to", n, good[:n])
		}
		try("longer by", 1, append(bytes.Clone(good), 0))
		if err := st.Put(t.Context(), f.Name, good); err != nil {
			t.Fatal(err)
		}
	}
	if files != 5 {
		t.Errorf("%d files", files)
	}
}

// TestUnpackedFraming opens what may stand in a sealed file, in both versions.
func TestUnpackedFraming(t *testing.T) {
	r, _ := newTestRepo(t, Options{})
	v1 := newRepository(r.storage, r.key, Config{Version: 1}, r.opt)
	z := func(s string) string { return "\x02" + string(newCompressor(CompressionAuto).compress(nil, []byte(s))) }
	for _, c := range []struct {
		framed   string
		one, two string // what each version reads; "-" for an error
	}{
		{"", "-", "-"},
		{`{"a":1}`, `{"a":1}`, `{"a":1}`},
		{`[1]`, `[1]`, `[1]`},
		{z(`{"a":1}`), "-", `{"a":1}`},
		{z(""), "-", ""},
		{"\x02", "-", ""},
		{"\x02{}", "-", "-"},
		{"\x01{}", "\x01{}", "-"}, // in version 1 all is for the JSON decoder to judge
		{" {}", " {}", "-"},
	} {
		for version, want := range map[*Repository]string{v1: c.one, r: c.two} {
			got, err := version.openUnpacked(&unpacker{decompressor: newDecompressor()}, r.key.seal(nil, []byte(c.framed)))
			if want == "-" && !errors.Is(err, ErrDamaged) || want != "-" && (err != nil || string(got) != want) {
				t.Errorf("version %d, %q: %q, %v", version.config.Version, c.framed, got, err)
			}
		}
	}
	for _, version := range []*Repository{v1, r} {
		id, err := version.saveUnpacked(t.Context(), "index", []byte(`{"packs":[]}`))
		if err != nil {
			t.Fatal(err)
		}
		got, err := version.loadUnpacked(t.Context(), "index", id)
		if err != nil || string(got) != `{"packs":[]}` {
			t.Errorf("version %d: %q, %v", version.config.Version, got, err)
		}
	}
}

// TestForeignNames ignores what lies beside the files of a repository.
func TestForeignNames(t *testing.T) {
	_, st := sampleRepo(t)
	id := strings.Repeat("ab", 32)
	for _, name := range []string{"README", "data/stray", "other/" + id} {
		if err := st.Put(t.Context(), name, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"keys", "snapshots", "index", "locks"} {
		for _, name := range []string{id + "-tmp-1234", id[:63], id + "0", strings.ToUpper(id), "sub/" + id, "." + id[1:]} {
			if err := st.Put(t.Context(), dir+"/"+name, []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := readAll(t.Context(), st); err != nil {
		t.Error(err)
	}
}

// TestStorageErrors makes every operation fail in turn: the error comes through, and is no damage.
func TestStorageErrors(t *testing.T) {
	_, dir := sampleRepo(t)
	broken := errors.New("broken")
	for k := 0; ; k++ {
		n := 0
		st := &faultStorage{dirStorage: dir, fail: func(_, _ string) error {
			if n++; n == k+1 {
				return broken
			}
			return nil
		}}
		err := readAll(t.Context(), st)
		if n <= k {
			if err != nil {
				t.Error(err)
			}
			if k < 8 {
				t.Errorf("only %d operations", k)
			}
			return
		}
		if !errors.Is(err, broken) || errors.Is(err, ErrDamaged) || errors.Is(err, ErrNoRepository) {
			t.Errorf("operation %d failed: %v", k, err)
		}
	}
}

// TestListedButMissing tells a file that was deleted meanwhile from one that a storage lists and does not give.
func TestListedButMissing(t *testing.T) {
	_, dir := sampleRepo(t)
	for _, lying := range []bool{false, true} {
		for _, kind := range []string{"index/", "snapshots/", "locks/"} {
			var hidden string
			st := &faultStorage{dirStorage: dir}
			st.fail = func(op, name string) error {
				if op == "get" && strings.HasPrefix(name, kind) {
					hidden = name
					if !lying {
						if err := dir.Delete(t.Context(), name); err != nil {
							return err
						}
					}
					return fs.ErrNotExist
				}
				return nil
			}
			r, err := Open(t.Context(), st, []byte("test"), Options{})
			if err != nil {
				t.Fatal(err)
			}
			switch kind {
			case "index/":
				err = r.LoadIndex(t.Context())
			case "snapshots/":
				_, err = r.Snapshots(t.Context())
			case "locks/":
				_, err = r.Locks(t.Context())
			}
			if hidden == "" || errors.Is(err, ErrDamaged) != lying || !lying && err != nil {
				t.Errorf("%s, lying %v: %v", kind, lying, err)
			}
		}
		_, dir = sampleRepo(t)
	}
}
