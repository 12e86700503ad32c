package repo

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// aPack is a pack for a plan: what is in it by letters, "a" is a data blob, "A" a tree, a tree behind "!" is plain.
// Each blob takes 1000 bytes and its header entry.
type aPack struct {
	blobs string
	size  int64 // -1 is missing; 0 is as it should be
}

func blobOf(letter byte, plain bool) packedBlob {
	b := packedBlob{Type: DataBlob, ID: Hash([]byte{letter}), Length: 1000}
	if letter >= 'A' && letter <= 'Z' {
		b.Type = TreeBlob
	}
	if !plain {
		b.Uncompressed = 5000
	}
	return b
}

func packID(n int) ID { return Hash(fmt.Append(nil, "pack ", n)) }

// catalogOf makes a catalog of packs, and of index files that each list some of them by number.
func catalogOf(packs []aPack, files [][]int, used string) (c *catalog, sizes []int64) {
	var list indexList
	spans := map[ID]packSpan{}
	for i, f := range files {
		first := len(list.packs)
		for _, n := range f {
			list.addPack(packID(n))
			offset, plain := uint32(0), false
			for _, letter := range []byte(packs[n].blobs) {
				if plain = plain || letter == '!'; letter == '!' {
					continue
				}
				b := blobOf(letter, plain)
				b.Offset = offset
				offset, plain = offset+b.Length, false
				list.addBlob(b)
			}
		}
		spans[Hash(fmt.Append(nil, "file ", i))] = packSpan{first, len(list.packs)}
	}
	c = newCatalog(list, spans)
	sizes = make([]int64, len(c.packs))
	for n, p := range packs {
		if number, ok := c.numbers[packID(n)]; ok {
			sizes[number] = packSize(c.blobs(number, false))
			if p.size != 0 {
				sizes[number] = p.size
			}
		}
	}
	for _, letter := range []byte(used) {
		b := blobOf(letter, false)
		c.need(b.Type, b.ID)
	}
	return c, sizes
}

// oneFile lists all packs in one index file.
func oneFile(packs []aPack) [][]int {
	all := make([]int, len(packs))
	for n := range packs {
		all[n] = n
	}
	return [][]int{all}
}

func TestPlan(t *testing.T) {
	small := func(n int, prefix ...aPack) []aPack {
		for i := range n {
			prefix = append(prefix, aPack{blobs: string(rune('a' + i))})
		}
		return prefix
	}
	for _, c := range []struct {
		name    string
		packs   []aPack
		used    string
		max     float64 // unused
		suspect []int
		want    string // k keep, d drop, r repack; or what the refusal says
	}{
		{"nothing there", nil, "", .05, nil, ""},
		{"all used", []aPack{{blobs: "abc"}, {blobs: "AB"}}, "abcAB", .05, nil, "kk"},
		{"none used", []aPack{{blobs: "abc"}, {blobs: "AB"}}, "", .05, nil, "dd"},
		{"a hole that may stay", []aPack{{blobs: "abcdefghijklmnopqrst"}, {blobs: "uvwxyzABC"}}, "abcdefghijklmnopqrsuvwxyz", .20, nil, "kr"}, // mixed
		{"under the limit", []aPack{{blobs: "abcdefghijklmnopqrst"}}, "abcdefghijklmnopqrs", .051, nil, "k"},
		{"over the limit", []aPack{{blobs: "abcdefghijklmnopqrst"}}, "abcdefghijklmnopqrs", .049, nil, "r"},
		{"no hole may stay", []aPack{{blobs: "abcdefghijklmnopqrst"}}, "abcdefghijklmnopqrs", 0, nil, "r"},
		{"any hole may stay", []aPack{{blobs: "abcd"}, {blobs: "ef"}}, "af", 1, nil, "kk"},
		{"the emptiest first", []aPack{{blobs: "abcd"}, {blobs: "efgh"}, {blobs: "ijkl"}}, "abceijkl", .2, nil, "krk"},
		{"trees first", []aPack{{blobs: "abcd"}, {blobs: "ABCDEFGHIJ"}}, "aABCDEFGHI", .25, nil, "kr"},
		{"mixed", []aPack{{blobs: "aA"}, {blobs: "b"}}, "aAb", .9, nil, "rk"},
		{"mixed and unused", []aPack{{blobs: "aA"}}, "", .9, nil, "d"},
		{"plain trees", []aPack{{blobs: "A!B"}, {blobs: "!a"}}, "ABa", .9, nil, "rk"},
		{"nine small packs", small(9), "abcdefghi", .05, nil, "kkkkkkkkk"},
		{"ten small packs", small(10, aPack{blobs: "ABCDEFGHIJKLMNOPQRST"}), "abcdefghijABCDEFGHIJKLMNOPQRST", .05, nil, "krrrrrrrrrr"},
		{"a copy", []aPack{{blobs: "ab"}, {blobs: "ab"}}, "ab", .05, nil, "kd or dk"},
		{"a copy that is part of more", []aPack{{blobs: "abc"}, {blobs: "ab"}, {blobs: "b"}}, "abc", .05, nil, "kdd"},
		{"after a repack that was cut off", []aPack{{blobs: "abxyz"}, {blobs: "ab"}}, "ab", .05, nil, "dk"},
		{"a copy in a tidy pack", []aPack{{blobs: "abA"}, {blobs: "abx"}, {blobs: "A"}}, "abA", .9, nil, "dkk"},
		{"missing, needed", []aPack{{blobs: "ab", size: -1}}, "a", .05, nil, "is missing"},
		{"missing, not needed", []aPack{{blobs: "ab", size: -1}, {blobs: "c"}}, "c", .05, nil, "dk"},
		{"missing, but copied", []aPack{{blobs: "abc", size: -1}, {blobs: "ab"}}, "ab", .05, nil, "dk"},
		{"too short, needed", []aPack{{blobs: "ab", size: 77}}, "a", .05, nil, "77 bytes long"},
		{"too long, not needed", []aPack{{blobs: "ab", size: 1 << 20}}, "", .05, nil, "d"},
		{"damaged, with a copy", []aPack{{blobs: "abc"}, {blobs: "abx"}}, "ab", .9, []int{0}, "dk"},
		{"damaged, the only one", []aPack{{blobs: "abcd"}}, "a", 0, []int{0}, "k"},
	} {
		t.Run(c.name, func(t *testing.T) {
			catalog, sizes := catalogOf(c.packs, oneFile(c.packs), c.used)
			suspect := map[ID]bool{}
			for _, n := range c.suspect {
				suspect[packID(n)] = true
			}
			packs := tally(catalog, sizes, suspect, 2)
			verdicts, err := planPacks(packs, planOptions{maxUnused: c.max, small: [2]int64{1500, 1500}})
			if err != nil {
				if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), c.want) {
					t.Error(err)
				}
				return
			}
			got := make([]byte, len(c.packs))
			for n := range c.packs {
				got[n] = "kdr"[verdicts[catalog.numbers[packID(n)]]]
			}
			if !slices.Contains(strings.Split(c.want, " or "), string(got)) {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// drawn is a repository for a plan, drawn by chance: packs, what is used, and index files, some of which list a pack that
// another one lists too.
type drawn struct {
	packs   []aPack
	files   [][]int
	used    string
	suspect map[ID]bool
	options planOptions
}

func draw(t *rapid.T) drawn {
	letters := "abcdefghijkLMNOPQ"
	d := drawn{suspect: map[ID]bool{}}
	d.used = strings.Join(rapid.SliceOfDistinct(rapid.StringMatching("["+letters+"]"), func(s string) string { return s }).Draw(t, "used"), "")
	for n := range rapid.IntRange(0, 14).Draw(t, "packs") {
		p := aPack{blobs: rapid.StringMatching("[a-k]{1,6}|[L-Q]{1,4}|(!?[L-Q]|[a-k]){1,5}").Draw(t, "blobs")}
		p.size = rapid.SampledFrom([]int64{0, 0, 0, 0, 0, 0, 0, -1, 5}).Draw(t, "size")
		if rapid.IntRange(0, 9).Draw(t, "suspect") == 0 {
			d.suspect[packID(n)] = true
		}
		d.packs = append(d.packs, p)
		for len(d.files) == 0 || rapid.IntRange(0, 2).Draw(t, "new file") == 0 {
			d.files = append(d.files, nil)
		}
		last := len(d.files) - 1
		d.files[last] = append(d.files[last], n)
		if rapid.IntRange(0, 9).Draw(t, "twice") == 0 {
			other := rapid.IntRange(0, last).Draw(t, "also in")
			d.files[other] = append(d.files[other], n)
		}
	}
	d.options = planOptions{
		maxUnused: rapid.SampledFrom([]float64{0, .05, .3, 1}).Draw(t, "max unused"),
		small:     [2]int64{rapid.Int64Range(0, 4000).Draw(t, "small data"), rapid.Int64Range(0, 4000).Draw(t, "small trees")},
	}
	return d
}

// TestPlanProperties: whatever is in the packs, each needed blob counts once, in a pack that stays or is repacked; a plan
// is refused only when it must be; and little stays unused.
func TestPlanProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t)
		c, sizes := catalogOf(d.packs, d.files, d.used)
		packs := tally(c, sizes, d.suspect, 2)
		verdicts, err := planPacks(packs, d.options)

		refuse := false
		for n := range packs {
			refuse = refuse || packs[n].usedBlobs > 0 && packs[n].size != packs[n].expected
		}
		if refuse != (err != nil) {
			t.Fatalf("refused: %v, must be: %v", err, refuse)
		}
		once := map[ID]int{}
		for n := range packs {
			all, counting := c.blobs(uint32(n), false), c.blobs(uint32(n), true)
			used := int64(0)
			for _, b := range counting {
				used += stored(b)
				once[b.ID]++
			}
			p := packs[n]
			if p.expected != packSize(all) || p.total != packSize(all)-int64(headerLength(nil)) || p.used != used || p.usedBlobs != len(counting) {
				t.Fatalf("pack %d is summed up as %+v", n, p)
			}
			for _, b := range counting { // a sound copy is never passed over for one that is not
				for _, l := range copiesIn(c, b) {
					if !p.sound() && packs[c.numbers[l.Pack]].sound() {
						t.Fatalf("the copy in %s counts, which is not sound", p.id)
					}
				}
			}
		}
		for letter := range strings.SplitSeq(d.used, "") {
			if letter == "" {
				continue
			}
			b := blobOf(letter[0], false)
			if n := once[b.ID]; n != min(1, len(copiesIn(c, b))) {
				t.Fatalf("blob %s counts %d times", letter, n)
			}
			delete(once, b.ID)
		}
		if len(once) > 0 {
			t.Fatalf("%d blobs count that nobody needs", len(once))
		}
		if err != nil {
			return
		}
		used, left := int64(0), int64(0)
		for n, v := range verdicts {
			p := &packs[n]
			used += p.used
			if v == keepPack && !p.suspect {
				left += p.unused()
			}
			if (v == dropPack) != (p.usedBlobs == 0) || v == keepPack && !p.tidy() && !p.suspect {
				t.Fatalf("pack %+v is to be %d", p, v)
			}
		}
		if float64(left) > mayStay(used, d.options.maxUnused) {
			t.Fatalf("%d bytes stay unused beside %d", left, used)
		}
	})
}

// copiesIn lists all places of a blob in a catalog.
func copiesIn(c *catalog, b packedBlob) []location {
	x := newIndex()
	x.state.Store(&indexState{segments: []*segment{c.segment}})
	return x.copies(b.Type, b.ID)
}

// TestIndexPlanProperties takes the steps of a plan in a model of the storage and looks after each of them: an index lists
// only packs that exist, and everything needed is listed. In the end each pack that stays is listed once, and no other.
func TestIndexPlanProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := draw(t)
		for n := range d.packs {
			d.packs[n].size = 0
		}
		c, sizes := catalogOf(d.packs, d.files, d.used)
		verdicts, err := planPacks(tally(c, sizes, d.suspect, 2), d.options)
		if err != nil {
			t.Fatal(err)
		}
		full := rapid.Bool().Draw(t, "full")
		changes := []indexChange{planIndex(c, verdicts)}
		if full {
			verdicts = without(verdicts, repackPack)
			changes = planDrops(c, verdicts)
			writesNothingFirst(t, c, verdicts, changes)
		}
		m := newModel(c, verdicts)
		for i, change := range changes {
			m.take(t, c, change, i)
		}
		for n, v := range verdicts {
			id := c.packs[n]
			switch {
			case (v == keepPack) != m.packs[id] && !(full && v != dropPack):
				t.Fatalf("pack %s is to be %d, and is there: %v", id, v, m.packs[id])
			case v == keepPack && m.listings(id) < 1, v == keepPack && !full && m.listings(id) != 1, v == dropPack && m.listings(id) != 0:
				t.Fatalf("pack %s is to be %d, and %d index files list it", id, v, m.listings(id))
			}
		}
	})
}

// writesNothingFirst: with a full disk the first steps are for the index files that list only what is dropped.
func writesNothingFirst(t *rapid.T, c *catalog, verdicts []verdict, changes []indexChange) {
	free := 0
	for _, f := range c.files {
		if !slices.ContainsFunc(f.packs, func(n uint32) bool { return verdicts[n] != dropPack }) {
			free++
		}
	}
	for i, change := range changes[:free] {
		if len(change.list) > 0 {
			t.Fatalf("step %d writes something, though %d index files could just be deleted", i, free)
		}
	}
}

// model is a storage: which packs there are, and what each index file lists.
type model struct {
	packs map[ID]bool
	files map[ID][]ID
	keep  []ID
}

func newModel(c *catalog, verdicts []verdict) *model {
	m := &model{map[ID]bool{}, map[ID][]ID{}, nil}
	for n, id := range c.packs {
		m.packs[id] = true
		if verdicts[n] == keepPack {
			m.keep = append(m.keep, id)
		}
	}
	for _, f := range c.files {
		m.files[f.id] = nil
		for _, n := range f.packs {
			m.files[f.id] = append(m.files[f.id], c.packs[n])
		}
	}
	return m
}

func (m *model) take(t *rapid.T, c *catalog, change indexChange, step int) {
	for i, numbers := range c.split(change.list) {
		id := Hash(fmt.Append(nil, "new ", step, i))
		for _, n := range numbers {
			m.files[id] = append(m.files[id], c.packs[n])
		}
		m.holds(t)
	}
	for _, f := range change.files {
		delete(m.files, f)
		m.holds(t)
	}
	for _, n := range change.drop {
		delete(m.packs, c.packs[n])
		m.holds(t)
	}
}

func (m *model) holds(t *rapid.T) {
	for _, f := range m.files {
		for _, id := range f {
			if !m.packs[id] {
				t.Fatalf("an index lists pack %s, which is gone", id)
			}
		}
	}
	for _, id := range m.keep {
		if m.listings(id) == 0 {
			t.Fatalf("pack %s, which is needed, is in no index", id)
		}
	}
}

func (m *model) listings(id ID) (n int) {
	for _, f := range m.files {
		for _, pack := range f {
			if pack == id {
				n++
			}
		}
	}
	return n
}

// TestIndexFilesStaySmall: many packs are listed in files of at most so many blobs, and a second plan changes nothing.
func TestIndexFilesStaySmall(t *testing.T) {
	if testing.Short() {
		t.Skip("one thing after the other: no races to be found")
	}
	var list indexList
	spans := map[ID]packSpan{}
	const perPack, packs, perFile = 700, 400, 7
	for n := range packs {
		list.addPack(packID(n))
		for i := range perPack {
			list.addBlob(packedBlob{DataBlob, Hash(fmt.Append(nil, n, i)), uint32(1000 * i), 1000, 5000})
		}
		spans[Hash(fmt.Append(nil, "file ", n/perFile))] = packSpan{n / perFile * perFile, n + 1}
	}
	c := newCatalog(list, spans)
	verdicts := make([]verdict, packs)
	for n := range packs / 10 {
		verdicts[10*n] = dropPack
	}
	change := planIndex(c, verdicts)
	if len(change.list) != packs-packs/10 || len(change.files) != len(c.files) || len(change.drop) != packs/10 {
		t.Fatalf("%d packs are listed, %d files deleted, %d packs dropped", len(change.list), len(change.files), len(change.drop))
	}
	var next indexList
	spans = map[ID]packSpan{}
	for i, numbers := range c.split(change.list) {
		blobs, first := 0, len(next.packs)
		for _, n := range numbers {
			next.addPack(c.packs[n])
			for _, b := range c.blobs(n, false) {
				next.addBlob(b)
				blobs++
			}
		}
		if blobs > indexFileBlobs {
			t.Errorf("a file lists %d blobs", blobs)
		}
		spans[Hash(fmt.Append(nil, "new ", i))] = packSpan{first, len(next.packs)}
	}
	if len(spans) > (packs*perPack)/(indexFileBlobs-perPack)+1 {
		t.Errorf("%d files", len(spans))
	}
	c = newCatalog(next, spans)
	if change := planIndex(c, make([]verdict, len(c.packs))); len(change.list)+len(change.files)+len(change.drop) > 0 {
		t.Errorf("again: %d packs are listed, %d files deleted", len(change.list), len(change.files))
	}
}
