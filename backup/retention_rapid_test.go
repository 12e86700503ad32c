package backup

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-backup/caddy-backup/repo"
)

var anyPeriod = rapid.Custom(func(t *rapid.T) Period {
	part := func(most int) int { return max(0, rapid.IntRange(-most, most).Draw(t, "part")) }
	return Period{Years: part(2), Months: part(6), Days: part(60), Hours: part(100)}
})

var anyRetention = rapid.Custom(func(t *rapid.T) Retention {
	count := func(name string) int { return max(Unlimited, rapid.IntRange(-8, 8).Draw(t, name)) }
	p := Retention{
		Last: count("last"), Hourly: count("hourly"), Daily: count("daily"), Weekly: count("weekly"), Monthly: count("monthly"), Yearly: count("yearly"),
		Within: anyPeriod.Draw(t, "within"), WithinDaily: anyPeriod.Draw(t, "within daily"), WithinYearly: anyPeriod.Draw(t, "within yearly"),
		LimitCount: max(0, count("limit count")), LimitSize: int64(max(0, count("limit size"))), LimitAge: anyPeriod.Draw(t, "limit age"),
	}
	if rapid.Bool().Draw(t, "tags") {
		p.Tags = [][]string{{rapid.SampledFrom([]string{"release", tagSuspect, "", "none"}).Draw(t, "tag")}}
	}
	return p
})

// anyGroup makes snapshots of one job and host, newest first, around now.
func anyGroup(t *rapid.T, now time.Time) []repo.Snapshot {
	n := rapid.IntRange(0, 30).Draw(t, "snapshots")
	all := make([]repo.Snapshot, n)
	for i := range all {
		zone := time.FixedZone("", 3600*rapid.IntRange(-11, 12).Draw(t, "offset"))
		all[i] = repo.Snapshot{
			ID: repo.ID{byte(i), 1}, Time: now.Add(-time.Duration(rapid.IntRange(-50, 20000).Draw(t, "age")) * time.Hour).In(zone),
			Tags:    []string{tagOurs},
			Summary: &repo.Summary{TotalBytesProcessed: uint64(rapid.IntRange(0, 3).Draw(t, "size"))},
		}
		for _, tag := range []string{tagSuspect, tagKeep, "release", tagImport, repo.TagRepaired} {
			if rapid.IntRange(0, 3).Draw(t, tag) == 0 {
				all[i].Tags = append(all[i].Tags, tag)
			}
		}
		if i > 0 && rapid.IntRange(0, 9).Draw(t, "of one that is there") == 0 { // what a repair leaves beside the old one
			id := all[i-1].StableID()
			all[i].Original, all[i].Time = &id, all[i-1].Time
		}
	}
	slices.SortStableFunc(all, func(a, b repo.Snapshot) int { return b.Time.Compare(a.Time) })
	return all
}

// TestRetentionNeverTakes holds for any policy over any snapshots: the newest good one, the newest of these that the job made,
// each pinned one and each of the future stays, limits hold, and what doubtful ones there are is all the same to the good ones.
func TestRetentionNeverTakes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC)
		p, group := anyRetention.Draw(t, "retention"), anyGroup(t, now)
		fates, doubtful := p.decide(group, now, time.UTC), inDoubt(group)
		var count int
		var size int64
		newest, newestMade := -1, -1
		for i, s := range group {
			future, suspect := s.Time.After(now), doubtful(s)
			if len(fates[i].reasons) == 0 {
				t.Fatalf("snapshot %d has no reason", i)
			}
			if !future && !suspect && newest < 0 {
				newest = i
			}
			if !future && !suspect && !imported(s) && newestMade < 0 {
				newestMade = i
			}
			if !fates[i].keep && (i == newest || i == newestMade || pinned(s) || future) {
				t.Fatalf("snapshot %d goes: %s", i, strings.Join(fates[i].reasons, "; "))
			}
			if fates[i].keep && !pinned(s) && !future && !suspect && !imported(s) && i != newestMade {
				count, size = count+1, size+sizeOf(s)
				if p.LimitAge != (Period{}) && !s.Time.After(p.LimitAge.before(now)) {
					t.Fatalf("snapshot %d is older than limit age and stays", i)
				}
			}
		}
		if p.LimitCount > 0 && count >= p.LimitCount+1 || p.LimitSize > 0 && count > 0 && size > p.LimitSize {
			t.Fatalf("%d snapshots of %d bytes stay beside the newest, the limits are %d and %d", count, size, p.LimitCount, p.LimitSize)
		}
		onlyGood := slices.DeleteFunc(slices.Clone(group), doubtful)
		without := p.decide(onlyGood, now, time.UTC)
		for i, s := range group {
			k := slices.IndexFunc(onlyGood, func(g repo.Snapshot) bool { return g.ID == s.ID })
			if k >= 0 && without[k].keep != fates[i].keep {
				t.Fatalf("snapshot %d: doubtful ones made it %v", i, fates[i].keep)
			}
		}
	})
}

// TestRetentionOfDoubtful: a doubtful snapshot has the fate that it would have if it alone were good, and counted with the
// imported ones.
func TestRetentionOfDoubtful(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC)
		p, group := anyRetention.Draw(t, "retention"), anyGroup(t, now)
		p.Tags = nil // which would see the tags that are exchanged here
		fates, doubtful := p.decide(group, now, time.UTC), inDoubt(group)
		for i, s := range group {
			if !doubtful(s) {
				continue
			}
			var alone []repo.Snapshot
			at := -1
			for k, other := range group {
				switch {
				case k == i:
					at = len(alone)
					other.Original = nil
					other.Tags = slices.DeleteFunc(slices.Clone(other.Tags), func(tag string) bool { return tag == tagSuspect || tag == repo.TagRepaired })
					alone = append(alone, repo.Snapshot{ID: repo.ID{255, 255}, Time: other.Time, Tags: append(other.Tags, tagImport), Summary: other.Summary})
				case !doubtful(other):
					alone = append(alone, other)
				}
			}
			if want := p.decide(alone, now, time.UTC)[at]; want.keep != fates[i].keep || !slices.Equal(want.reasons, fates[i].reasons) {
				t.Fatalf("snapshot %d: %v, and as the only doubtful one %v", i, fates[i], want)
			}
		}
	})
}

// TestRetentionOfMany must not compare each with each: a preview can be asked for by anybody who may look.
func TestRetentionOfMany(t *testing.T) {
	p := Retention{Last: 10, Hourly: 24, Daily: Unlimited, WithinWeekly: Period{Years: 1}, LimitCount: 5000}
	now := time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC)
	group := make([]repo.Snapshot, 40000)
	for i := range group {
		group[i] = repo.Snapshot{ID: repo.ID{byte(i >> 8), byte(i), 1}, Time: now.Add(-time.Duration(i) * time.Hour), Tags: []string{tagOurs}}
		if i%2 == 0 {
			group[i].Tags = []string{tagOurs, tagSuspect}
		}
	}
	begun := time.Now()
	p.decide(group, now, time.UTC)
	if took := time.Since(begun); took > 20*time.Second { // it takes 50 ms, and took minutes
		t.Errorf("it took %v", took)
	}
}
