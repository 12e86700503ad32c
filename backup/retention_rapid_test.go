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
		for _, tag := range []string{tagSuspect, tagKeep, "release"} {
			if rapid.IntRange(0, 3).Draw(t, tag) == 0 {
				all[i].Tags = append(all[i].Tags, tag)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b repo.Snapshot) int { return b.Time.Compare(a.Time) })
	return all
}

// TestRetentionNeverTakes holds for any policy over any snapshots: the newest good one, each pinned one and each of the
// future stays, limits hold, and what suspect ones there are is all the same to the good ones.
func TestRetentionNeverTakes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC)
		p, group := anyRetention.Draw(t, "retention"), anyGroup(t, now)
		fates := p.decide(group, now, time.UTC)
		var count int
		var size int64
		newest := -1
		for i, s := range group {
			future, suspect := s.Time.After(now), slices.Contains(s.Tags, tagSuspect)
			if len(fates[i].reasons) == 0 {
				t.Fatalf("snapshot %d has no reason", i)
			}
			if !future && !suspect && newest < 0 {
				newest = i
			}
			if !fates[i].keep && (i == newest || pinned(s) || future) {
				t.Fatalf("snapshot %d goes: %s", i, strings.Join(fates[i].reasons, "; "))
			}
			if fates[i].keep && !pinned(s) && !future && !suspect && i != newest {
				count, size = count+1, size+sizeOf(s)
				if p.LimitAge != (Period{}) && !s.Time.After(p.LimitAge.before(now)) {
					t.Fatalf("snapshot %d is older than limit age and stays", i)
				}
			}
		}
		if p.LimitCount > 0 && count >= p.LimitCount+1 || p.LimitSize > 0 && count > 0 && size > p.LimitSize {
			t.Fatalf("%d snapshots of %d bytes stay beside the newest, the limits are %d and %d", count, size, p.LimitCount, p.LimitSize)
		}
		onlyGood := slices.DeleteFunc(slices.Clone(group), func(s repo.Snapshot) bool { return slices.Contains(s.Tags, tagSuspect) })
		without := p.decide(onlyGood, now, time.UTC)
		for i, s := range group {
			k := slices.IndexFunc(onlyGood, func(g repo.Snapshot) bool { return g.ID == s.ID })
			if k >= 0 && without[k].keep != fates[i].keep {
				t.Fatalf("snapshot %d: suspect ones made it %v", i, fates[i].keep)
			}
		}
	})
}
