package backup

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// resticCase is a policy, snapshots, and what restic made of them.
type resticCase struct {
	Zone      string    `json:"tz"`
	Now       time.Time `json:"now"`
	Snapshots []struct {
		Time  string   `json:"time"`
		Host  string   `json:"host"`
		Paths []string `json:"paths"`
		Tags  []string `json:"tags"`
	} `json:"snapshots"`
	Policy struct {
		Retention
		GroupBy []string `json:"group_by"`
	} `json:"policy"`
	Filter struct {
		Host []string   `json:"host"`
		Tag  [][]string `json:"tag"`
		Path []string   `json:"path"`
	} `json:"filter"`
	Keep    []int            `json:"keep"`
	Remove  []int            `json:"remove"`
	Reasons map[int][]string `json:"reasons"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"expect_error"`
}

func loadCase(t *testing.T, file string) (c resticCase, snapshots []repo.Snapshot) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	for i, s := range c.Snapshots {
		at, err := time.Parse(time.RFC3339, s.Time)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(s.Time, "Z") != (at.Location() == time.UTC) {
			t.Fatalf("%s is in %v", s.Time, at.Location())
		}
		snapshots = append(snapshots, repo.Snapshot{ID: repo.ID{byte(i >> 8), byte(i)}, Time: at, Hostname: s.Host, Paths: s.Paths, Tags: s.Tags})
	}
	return c, snapshots
}

// passes reports whether the filter of the case lets a snapshot through.
func (c *resticCase) passes(s repo.Snapshot) bool {
	return (c.Filter.Host == nil || slices.Contains(c.Filter.Host, s.Hostname)) &&
		(c.Filter.Tag == nil || slices.ContainsFunc(c.Filter.Tag, func(tags []string) bool { return hasTags(s, tags) })) &&
		repo.SnapshotFilter{Paths: c.Filter.Path}.Match(s)
}

func (c *resticCase) group(s repo.Snapshot) string {
	var key []string
	for _, by := range c.Policy.GroupBy {
		switch by {
		case "host":
			key = append(key, s.Hostname)
		case "paths":
			key = append(key, strings.Join(slices.Sorted(slices.Values(s.Paths)), "\n"))
		case "tags":
			key = append(key, strings.Join(slices.Sorted(slices.Values(s.Tags)), "\n"))
		}
	}
	return strings.Join(key, "\x00")
}

// TestRetentionAsRestic holds the walk of the rules to what restic decided in each of its recorded cases, reasons included.
func TestRetentionAsRestic(t *testing.T) {
	files, err := filepath.Glob("testdata/forget/*.json")
	if err != nil || len(files) < 100 {
		t.Fatal(len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			c, snapshots := loadCase(t, file)
			zone, err := time.LoadLocation(c.Zone)
			if err != nil {
				t.Fatal(err)
			}
			groups := map[string][]repo.Snapshot{}
			for _, s := range slices.Backward(snapshots) { // newest first
				if c.passes(s) {
					groups[c.group(s)] = append(groups[c.group(s)], s)
				}
			}
			var keep, remove []int
			reasons, emptied := map[int][]string{}, false
			for _, group := range groups {
				before := len(keep)
				w := c.Policy.walk(c.Now, zone)
				for i, s := range group {
					why := w.reasons(s, i == len(group)-1)
					n := int(group[i].ID[0])<<8 | int(group[i].ID[1])
					if len(why) == 0 {
						remove = append(remove, n)
						continue
					}
					keep = append(keep, n)
					reasons[n] = why
				}
				emptied = emptied || len(keep) == before
			}
			if c.Error != nil {
				if strings.Contains(c.Error.Message, "no policy") == c.Policy.hasRule() {
					t.Errorf("hasRule = %v, restic says %s", c.Policy.hasRule(), c.Error.Message)
				} else if !emptied {
					t.Errorf("every group keeps something, restic says %s", c.Error.Message)
				}
				return
			}
			slices.Sort(keep)
			slices.Sort(remove)
			if !slices.Equal(keep, c.Keep) || !slices.Equal(remove, c.Remove) {
				t.Errorf("keep %v\nremove %v\nrestic keeps %v\nremoves %v", keep, remove, c.Keep, c.Remove)
			}
			for _, n := range slices.Sorted(maps.Keys(c.Reasons)) {
				if !reflect.DeepEqual(reasons[n], c.Reasons[n]) {
					t.Errorf("snapshot %d: %q, restic says %q", n, reasons[n], c.Reasons[n])
				}
			}
		})
	}
}

func TestPeriod(t *testing.T) {
	for text, want := range map[string]string{"3d": "3d", "2h1y": "1y2h", "1y5m7d2h": "1y5m7d2h", "1d3d": "3d", "036h": "36h", "0y1d": "1d"} {
		if p, err := ParsePeriod(text); err != nil || p.String() != want {
			t.Errorf("%q: %q, %v", text, p, err)
		}
	}
	for _, text := range []string{"", "d", "3", "3w", "-3d", "3 d", "3d ", "0d", "3D", "1.5d", "99999999999d", "3d4", "٣d"} {
		if p, err := ParsePeriod(text); err == nil {
			t.Errorf("%q is %v", text, p)
		}
	}
}

// spell makes snapshots of one job of a line: newest first, a letter a snapshot, one a day at noon: g good, s suspect, k pinned, i imported,
// S pinned and suspect, f of the future.
func spell(line string, now time.Time) []repo.Snapshot {
	var all []repo.Snapshot
	for i, letter := range line {
		s := repo.Snapshot{
			ID: repo.Hash([]byte(strconv.Itoa(i))), Time: now.AddDate(0, 0, -i-1), Hostname: "h", Paths: []string{"/shop"},
			Tags: []string{tagOurs}, Summary: &repo.Summary{TotalBytesProcessed: 10},
		}
		switch letter {
		case 'i':
			s.Tags = append(s.Tags, tagImport)
		case 's':
			s.Tags = append(s.Tags, tagSuspect)
		case 'k':
			s.Tags = append(s.Tags, tagKeep)
		case 'S':
			s.Tags = append(s.Tags, tagKeep, tagSuspect)
		case 'f':
			s.Time = now.AddDate(1, 0, -i)
		}
		all = append(all, s)
	}
	return all
}

// TestRetentionAlgebra tells rules and limits, good, suspect, pinned and future ones apart: "+" stays, "-" goes.
func TestRetentionAlgebra(t *testing.T) {
	now := time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name, line, want string
		p                Retention
	}{
		{"count", "ggggg", "++---", Retention{LimitCount: 2}},
		{"count passes over pinned ones", "gkgkgg", "++++--", Retention{LimitCount: 2}},
		{"count after rules", "gggggg", "+++---", Retention{Daily: 5, LimitCount: 3}},
		{"rules below the limit", "gggggg", "++---+", Retention{Daily: 2, Yearly: 2, LimitCount: 4}}, // the oldest of the year
		{"last counts pinned ones", "gkkgg", "+++--", Retention{Last: 2}},
		{"size", "ggggg", "++---", Retention{LimitSize: 29}},
		{"size that one is beyond", "ggkg", "+-+-", Retention{LimitSize: 5}},
		{"age", "ggggg", "++---", Retention{LimitAge: Period{Days: 3}}}, // one as old as the limit goes
		{"all are too old", "gggg", "+---", Retention{LimitAge: Period{Hours: 1}}},
		{"tag alone", "ggkgg", "+-+--", Retention{Tags: [][]string{{"x"}}}},
		{"suspect ones displace nothing", "ssgsgg", "+++++-", Retention{Last: 2}},
		{"suspect ones go with the good", "ggss", "++--", Retention{Last: 2}},
		{"suspect only", "sss", "+++", Retention{Last: 1}},
		{"limits and suspect ones", "sgsg", "++--", Retention{LimitCount: 1}},
		{"pinned and suspect", "ggSs", "+-+-", Retention{Last: 1}},
		{"imported ones", "gii", "++-", Retention{LimitCount: 2}},
		{"imported ones displace nothing", "iigigg", "+++-+-", Retention{Last: 2}},
		{"limits and imported ones", "iggi", "+++-", Retention{LimitCount: 2}},
		{"imported only", "iii", "+--", Retention{Last: 1}},
		{"the future", "ffgg", "+++-", Retention{Last: 1}},
		{"only the future", "ff", "++", Retention{LimitCount: 1}},
		{"nothing", "", "", Retention{Last: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got strings.Builder
			for i, f := range c.p.decide(spell(c.line, now), now, time.UTC) {
				if len(f.reasons) == 0 {
					t.Errorf("snapshot %d has no reason", i)
				}
				got.WriteString(map[bool]string{true: "+", false: "-"}[f.keep])
			}
			if got.String() != c.want {
				t.Errorf("%s: %s, want %s", c.line, got.String(), c.want)
			}
		})
	}
}

// BenchmarkRetain: the retention of ten thousand snapshots, of which every hundredth is suspect.
func BenchmarkRetain(b *testing.B) {
	now := time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC)
	all := spell(strings.Repeat(strings.Repeat("g", 99)+"s", 100), now)
	c, j := &setup{Config: Config{Host: "h", Zone: time.UTC}}, Job{Name: "shop", Retention: &Retention{Last: 5, Daily: 14, Weekly: 8}}
	for b.Loop() {
		(&vault{}).retain(c, j, all, now)
	}
}

// TestRetentionKeepsSafety has every rule and limit remove what it can: what a restore replaced stays for a week, and takes
// nobody's place.
func TestRetentionKeepsSafety(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	group := []repo.Snapshot{
		{ID: repo.ID{1}, Time: now.Add(-time.Hour)},
		{ID: repo.ID{2}, Time: now.Add(-safetyKept + time.Second), Tags: []string{tagSafety, tagSuspect}},
		{ID: repo.ID{3}, Time: now.Add(-safetyKept), Tags: []string{tagSafety}},
		{ID: repo.ID{4}, Time: now.Add(-safetyKept - time.Hour)},
	}
	for name, p := range map[string]Retention{"rule": {Last: 1}, "limit": {LimitCount: 1}} {
		var kept []bool
		for _, f := range p.decide(group, now, time.UTC) {
			kept = append(kept, f.keep)
		}
		if !slices.Equal(kept, []bool{true, true, false, false}) {
			t.Errorf("%s: %v", name, kept)
		}
	}
}
