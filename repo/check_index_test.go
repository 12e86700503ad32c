package repo

import (
	"strings"
	"testing"
)

// TestSplitPack: the entries of one pack in two index files, in none of which it is whole. In memory their union looks
// right; restic refuses it.
func TestSplitPack(t *testing.T) {
	r, _ := sampleRepo(t)
	packs := fakePacks(1, 2, 4)
	for _, name := range []string{"agree", "differ"} {
		for file := range indexFiles(t, r) {
			if err := r.storage.Delete(t.Context(), "index/"+file.String()); err != nil {
				t.Fatal(err)
			}
		}
		one, two := map[ID][]packedBlob{}, map[ID][]packedBlob{}
		for id, blobs := range packs {
			one[id], two[id] = blobs, blobs
			if name == "differ" {
				one[id], two[id] = blobs[:1], blobs[1:]
			}
		}
		for _, list := range []map[ID][]packedBlob{one, two} {
			if _, err := r.saveIndex(t.Context(), list); err != nil {
				t.Fatal(err)
			}
		}
		report, err := r.Check(t.Context(), CheckOptions{})
		if err != nil {
			t.Fatal(err)
		}
		found := map[bool]int{}
		for _, p := range report.Problems {
			if strings.Contains(p.Text, "index files") && strings.HasPrefix(p.File, "data/") {
				found[p.Error]++
			}
		}
		if want := map[bool]int{name == "differ": len(packs)}; found[true] != want[true] || found[false] != want[false] {
			t.Errorf("%s: %+v", name, report.Problems)
		}
	}
}
