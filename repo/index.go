package repo

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// index is the union of all index files in memory: for every blob where it lies. It is made of sorted arrays of packed
// entries (49 bytes a blob, plus 32 a pack). Safe for use by many goroutines at once; lookups take no lock.
//
// The arrays lie in segments, which never change once they are made. What is loaded, or saved by a running writer,
// becomes a new segment; segments of like size are merged, so that there are few of them (their sizes at least double
// from one to the one before it) and every entry is copied only some log2(n) times.
type index struct {
	mu    sync.Mutex // held while the state is being changed
	state atomic.Pointer[indexState]
}

// indexState is one immutable state of the index.
type indexState struct {
	files    map[ID]bool // index files that the segments hold
	segments []*segment  // from large to small
}

// location is where one copy of a blob lies.
type location struct {
	Pack ID
	packedBlob
}

func newIndex() *index {
	x := new(index)
	x.state.Store(&indexState{})
	return x
}

// lookup finds a blob; when it lies in several packs any copy is returned (all: see copies).
func (x *index) lookup(t BlobType, id ID) (location, bool) {
	for _, s := range x.state.Load().segments {
		if i := s.find(t, id); i >= 0 {
			return s.location(t, i), true
		}
	}
	return location{}, false
}

// copies returns every place of a blob, for readers that meet a damaged one.
func (x *index) copies(t BlobType, id ID) []location {
	var list []location
	for _, s := range x.state.Load().segments {
		i := s.find(t, id)
		for ; i >= 0 && i < len(s.entries[t]) && s.entries[t][i].id == id; i++ {
			if l := s.location(t, i); !slices.Contains(list, l) {
				list = append(list, l)
			}
		}
	}
	return list
}

// packs returns what every indexed pack holds, ordered by offset.
func (x *index) packs() map[ID][]packedBlob {
	all := make(map[ID][]packedBlob)
	for _, s := range x.state.Load().segments {
		for t := range s.entries {
			for i := range s.entries[t] {
				l := s.location(BlobType(t), i)
				all[l.Pack] = append(all[l.Pack], l.packedBlob)
			}
		}
	}
	for id, blobs := range all {
		all[id] = sortBlobs(blobs) // a pack may stand in several index files
	}
	return all
}

// sortBlobs orders what a pack holds by offset, each blob once.
func sortBlobs(blobs []packedBlob) []packedBlob {
	slices.SortFunc(blobs, func(a, b packedBlob) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), bytes.Compare(a.ID[:], b.ID[:]), cmp.Compare(a.Type, b.Type))
	})
	return slices.Compact(blobs)
}

// packEnds tells where the last blob of every indexed pack ends, in bytes. Unlike packs it makes no copy of the index.
func (x *index) packEnds() map[ID]int64 {
	ends := make(map[ID]int64)
	for _, s := range x.state.Load().segments {
		for t := range s.entries {
			for i := range s.entries[t] {
				l := s.location(BlobType(t), i)
				ends[l.Pack] = max(ends[l.Pack], int64(l.Offset)+int64(l.Length))
			}
		}
	}
	return ends
}

// add puts what an index file lists into the index, unless it has that file already. Call it with mu held.
func (x *index) add(file ID, list indexList) {
	old := x.state.Load()
	if old.files[file] {
		return
	}
	files := maps.Clone(old.files)
	if files == nil {
		files = make(map[ID]bool)
	}
	files[file] = true
	x.state.Store(&indexState{files, pushSegment(old.segments, list)})
}

// LoadIndex brings the index in memory up to date with the storage: new index files are loaded, vanished ones
// forgotten. Call it after Lock and after listing snapshots. When index files are damaged, the others are loaded and
// the error (errors.Is ErrDamaged) names the bad ones: reading can go on with what is there, writing and pruning must not.
func (r *Repository) LoadIndex(ctx context.Context) error { return r.loadIndex(ctx, nil) }

// loadIndex is LoadIndex that shows every file which it reads to look, if there is one; several at once.
func (r *Repository) loadIndex(ctx context.Context, look func(file ID, list *indexList)) error {
	x := r.index
	x.mu.Lock() // a saveIndex in between waits: what it adds is never lost
	defer x.mu.Unlock()
	state := x.state.Load()
	list, load, err := r.loadIndexFiles(ctx, state.files, look)
	if err == nil && vanished(state.files, load.listed) {
		// Entries do not tell which file they came from. Somebody has pruned, so nearly all is new anyway.
		state = &indexState{}
		r.rescued.forget()
		list, load, err = r.loadIndexFiles(ctx, nil, look)
	}
	if err != nil {
		return fmt.Errorf("cannot load the index%s: %w", r.at(), err)
	}
	if len(load.fresh) > 0 || len(state.files) == 0 {
		files := make(map[ID]bool, len(state.files)+len(load.fresh))
		maps.Copy(files, state.files)
		for id := range load.fresh {
			files[id] = true
		}
		x.state.Store(&indexState{files, pushSegment(state.segments, list)})
	}
	if len(load.bad) > 0 {
		return fmt.Errorf("%w: %w; the packs still tell what is in them: repair the index", ErrIndex, load.bad)
	}
	return nil
}

// packSpan is where in a list's packs those of one index file stand: from first to behind.
type packSpan struct{ first, behind int }

// loadIndexFiles reads all index files but the known ones into one list. There may be a million blobs, so each entry
// should be written once, where it will stay: from what the first file holds it guesses what all will.
func (r *Repository) loadIndexFiles(ctx context.Context, known map[ID]bool, look func(ID, *indexList)) (indexList, loaded[packSpan], error) {
	var mu sync.Mutex
	var list indexList
	left := int64(0) // stored bytes of the files that are not in the list yet
	want := func(id ID, f FileInfo) bool {
		if !known[id] {
			left += f.Size
		}
		return !known[id]
	}
	decode := func(id ID, f FileInfo, text []byte) (packSpan, error) {
		one, err := decodeIndex(text, r.config.Version)
		if err != nil {
			return packSpan{}, err
		}
		if look != nil {
			look(id, one)
		}
		mu.Lock()
		defer mu.Unlock()
		list.reserve(one, f.Size, left)
		left -= f.Size
		span := packSpan{len(list.packs), len(list.packs) + len(one.packs)}
		list.addList(one)
		return span, nil
	}
	load, err := loadFiles(ctx, r, "index", want, decode)
	return list, load, err
}

// vanished reports whether any known file is not listed.
func vanished(known, listed map[ID]bool) bool {
	for id := range known {
		if !listed[id] {
			return true
		}
	}
	return false
}

// Lists reports whether an index file that LoadIndex has found lists the root folder of a snapshot. When none does, index
// files are missing.
func (r *Repository) Lists(s Snapshot) bool {
	_, ok := r.index.lookup(TreeBlob, s.Tree)
	return ok
}
