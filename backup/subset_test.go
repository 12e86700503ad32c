package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

func TestParseSubset(t *testing.T) {
	for text, want := range map[string]subset{
		"": {}, "5%": {percent: 5}, "0.5%": {percent: 0.5}, "100%": {percent: 100}, "2/10": {group: 2, groups: 10}, "1/1": {group: 1, groups: 1},
		"500MiB": {bytes: 500 << 20}, "1G": {bytes: 1e9}, "1": {bytes: 1},
	} {
		want.text = text
		if s, err := parseSubset(text); err != nil || s != want {
			t.Errorf("%q: %+v, %v", text, s, err)
		}
	}
	for _, text := range []string{"%", "0%", "-5%", "101%", "NaN%", "5 %x", "0/5", "6/5", "1/257", "a/b", "1/2/3", "0", "-1", "many"} {
		if s, err := parseSubset(text); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %+v, %v", text, s, err)
		}
	}
}

// rotation is a repository whose packs come and go, and checks of a part of its data.
type rotation struct {
	reads *reads
	packs []repo.PackInfo
	made  uint64
}

func (x *rotation) add(size int64) {
	x.made++
	x.packs = append(x.packs, repo.PackInfo{ID: repo.Hash(fmt.Append(nil, x.made)), Size: size})
}

// check reads what the subset chooses, keeps it as the Store does, and returns it.
func (x *rotation) check(t *testing.T, s subset) []repo.ID {
	x.reads.turn++
	read := s.choose(x.packs, x.reads)
	x.reads.update(&repo.CheckReport{Listed: x.packs, Whole: read}, time.Unix(1e9, 0))
	next := &reads{turn: x.reads.turn, packs: map[packKey]packRead{}}
	next.decode(x.reads.encode())
	if len(next.packs) != len(x.packs) {
		t.Fatalf("%d packs are kept, there are %d", len(next.packs), len(x.packs))
	}
	x.reads = next
	return read
}

// TestRotationReachesAll: n checks of 100/n percent read every pack that was there all the time, whatever comes and goes.
func TestRotationReachesAll(t *testing.T) {
	if testing.Short() {
		t.Skip("one thing after the other: no races to be found")
	}
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		x := &rotation{reads: &reads{packs: map[packKey]packRead{}}}
		for range 1 + rng.IntN(300) {
			x.add(1 + rng.Int64N(16<<20))
		}
		percent := []float64{1, 5, 7, 33, 50, 100}[rng.IntN(6)]
		s := subset{percent: percent}
		for range 3 { // three rounds
			left := map[repo.ID]bool{}
			for _, p := range x.packs {
				left[p.ID] = true
			}
			for range s.rounds() {
				for _, id := range x.check(t, s) {
					delete(left, id)
				}
				for range rng.IntN(1 + len(x.packs)/10) { // backups
					x.add(1 + rng.Int64N(16<<20))
				}
				if rng.IntN(3) == 0 { // a prune takes what was read rather than what was not
					x.packs = slices.DeleteFunc(x.packs, func(p repo.PackInfo) bool {
						gone := len(x.packs) > 1 && rng.IntN(3) == 0 && (!left[p.ID] || rng.IntN(4) == 0)
						if gone {
							delete(left, p.ID)
						}
						return gone
					})
				}
			}
			if len(left) > 0 {
				t.Errorf("seed %d: %d checks of %v%% left out %d packs", seed, s.rounds(), percent, len(left))
			}
		}
	}
}

// TestRotationIsEven reads no more than its share where nothing changes, and nothing twice before all is read.
func TestRotationIsEven(t *testing.T) {
	for _, s := range []subset{{percent: 5}, {bytes: 5 << 20}} {
		x := &rotation{reads: &reads{packs: map[packKey]packRead{}}}
		for range 100 {
			x.add(1 << 20)
		}
		times := map[repo.ID]int{}
		for i := range 60 {
			read := x.check(t, s)
			if len(read) != 5 {
				t.Errorf("check %d reads %d packs", i, len(read))
			}
			for _, id := range read {
				times[id]++
			}
			if all, _ := x.reads.proven(x.packs); i < 19 && all == 1 || i >= 19 && all < 1 {
				t.Errorf("after check %d %v of the data is proven", i, all)
			}
		}
		for id, n := range times {
			if n != 3 {
				t.Errorf("pack %s was read %d times", id.Short(), n)
			}
		}
	}
}

// TestGroups: the groups together are everything, each pack in one.
func TestGroups(t *testing.T) {
	x := &rotation{reads: &reads{packs: map[packKey]packRead{}}}
	for range 500 {
		x.add(1)
	}
	var all []repo.ID
	for n := 1; n <= 7; n++ {
		all = append(all, subset{group: n, groups: 7}.choose(x.packs, x.reads)...)
	}
	slices.SortFunc(all, func(a, b repo.ID) int { return slices.Compare(a[:], b[:]) })
	if len(slices.Compact(all)) != 500 {
		t.Errorf("%d packs", len(all))
	}
}

// TestProven does not count what was found damaged, and forgets what is gone.
func TestProven(t *testing.T) {
	x := &rotation{reads: &reads{packs: map[packKey]packRead{}}}
	for range 4 {
		x.add(100)
	}
	report := &repo.CheckReport{Listed: x.packs, Whole: packIDs(x.packs[:2]), DamagedPacks: packIDs(x.packs[2:3])}
	x.reads.turn = 1
	x.reads.update(report, time.Unix(1e9, 0))
	if part, since := x.reads.proven(x.packs); part != 0.5 || since.Unix() != 1e9 {
		t.Errorf("%v since %v", part, since)
	}
	x.reads.turn++
	x.reads.update(&repo.CheckReport{Listed: x.packs[3:]}, time.Unix(2e9, 0))
	if part, _ := x.reads.proven(x.packs[3:]); part != 0 || len(x.reads.packs) != 1 {
		t.Errorf("%v of %d packs", part, len(x.reads.packs))
	}
}

func FuzzReads(f *testing.F) {
	f.Add([]byte(`{"repository":"a","turn":5,"packs":"AAAAAAAAAAABAAAAAgAAAA=="}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var file readsFile
		if json.Unmarshal(data, &file) != nil {
			return
		}
		r := &reads{turn: file.Turn, packs: map[packKey]packRead{}}
		r.decode(file.Packs)
		r.turn++
		packs := []repo.PackInfo{{ID: repo.Hash(data), Size: 5}, {ID: repo.ID{}, Size: 7}}
		if n := len(subset{percent: 1}.choose(packs, r)); n < 1 {
			t.Errorf("%d packs", n)
		}
		r.proven(packs)
	})
}
