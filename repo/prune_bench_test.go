package repo

import (
	"encoding/binary"
	"fmt"
	"testing"
)

// manyBlobs is the index of n blobs in packs of 64, a fifth of them unused, and every hundredth twice.
func manyBlobs(n int) (indexList, map[ID]packSpan) {
	var list indexList
	spans := map[ID]packSpan{}
	var name [8]byte
	for i := range n {
		if i%64 == 0 {
			list.addPack(packID(i / 64))
		}
		what := i
		if i%100 == 99 {
			what = i - 99
		}
		binary.LittleEndian.PutUint64(name[:], uint64(what))
		list.addBlob(packedBlob{DataBlob, Hash(name[:]), uint32(i % 64 * 200_000), 200_000, 500_000})
	}
	const perFile = indexFileBlobs / 64
	for first := 0; first < len(list.packs); first += perFile {
		spans[Hash(fmt.Append(nil, "file ", first))] = packSpan{first, min(first+perFile, len(list.packs))}
	}
	return list, spans
}

// BenchmarkPrunePlan: the catalog of a million blobs, its marks, and all decisions.
func BenchmarkPrunePlan(b *testing.B) {
	const blobs = 1_000_000
	list, spans := manyBlobs(blobs)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		given := concat([]*indexList{&list})
		b.StartTimer()
		c := newCatalog(given, spans)
		for i := range c.entries[DataBlob] {
			if e := &c.entries[DataBlob][i]; e.id[0]%5 > 0 {
				c.need(DataBlob, e.id)
			}
		}
		sizes := make([]int64, len(c.packs))
		for n := range sizes {
			sizes[n] = packSize(c.blobs(uint32(n), false))
		}
		verdicts, err := planPacks(tally(c, sizes, nil, 2), planOptions{maxUnused: DefaultMaxUnused})
		if err != nil {
			b.Fatal(err)
		}
		planIndex(c, verdicts)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/blobs, "ns/blob")
}

// BenchmarkPrune: 64 MiB in packs of which every other blob goes.
func BenchmarkPrune(b *testing.B) {
	b.SetBytes(64 << 20)
	for b.Loop() {
		b.StopTimer()
		r, _ := newTestRepo(b, Options{})
		var kept [][]byte
		for range 4 {
			var blobs []rawBlob
			for i := range 16 {
				data := sqlText(1 << 20)
				binary.LittleEndian.PutUint64(data, uint64(len(kept)*2+i%2)+uint64(i)<<32)
				blobs = append(blobs, rawBlob{plain: data, pack: true})
				if i%2 == 0 {
					kept = append(kept, data)
				}
			}
			putPack(b, r, blobs...)
		}
		tree := aTree(b, kept...)
		putPack(b, r, rawBlob{typ: TreeBlob, plain: tree, pack: true})
		putSnapshot(b, r, tree)
		lock, err := r.Lock(b.Context(), true)
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		report, err := r.Prune(b.Context(), lock, PruneOptions{})
		if err != nil || report.PacksRepacked != 4 {
			b.Fatalf("%+v, %v", report, err)
		}
		b.StopTimer()
		_ = lock.Unlock()
		b.StartTimer()
	}
}
