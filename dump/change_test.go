package dump

import (
	"crypto/rand"
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// TestChangeKilled ends a change in its middle, as when its process is killed: the next one at the same place removes what
// that left, but not before it was settled what becomes of the old one.
func TestChangeKilled(t *testing.T) {
	for name, settled := range map[string]bool{"settled": true, "open": false} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writeTree(t, dir, map[string]string{"place/a": "old"})
			begin := func() *change {
				parent, err := os.OpenRoot(dir)
				if err != nil {
					t.Fatal(err)
				}
				x, err := newChange(parent, "place")
				if err != nil {
					t.Fatal(err)
				}
				return x
			}
			x := begin()
			writeTree(t, dir, map[string]string{x.dir + "/new/a": "new"})
			if there, err := x.change(); !there || err != nil {
				t.Fatal(there, err)
			}
			if settled {
				x.settled()
			}
			x.held.Close()
			begin().close()
			want := map[string]string{"place/a": "new"}
			if !settled {
				want[filepath.Join(x.dir, "new/a")], want[filepath.Join(x.dir, changeOpen)] = "old", ""
			}
			if got := readTree(t, dir); !maps.Equal(got, want) {
				t.Errorf("there is %v, want %v", got, want)
			}
		})
	}
}

// What only begins like one of our private folders is somebody else's.
func TestChangeSweepsOnlyItsOwn(t *testing.T) {
	dir := t.TempDir()
	ours, theirs := changePrefix+rand.Text(), changePrefix+"notes"
	for _, name := range []string{ours, theirs} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	parent, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer parent.Close()
	sweepChanges(parent)
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 || left[0].Name() != theirs {
		t.Errorf("left are %v, %v", left, err)
	}
}
