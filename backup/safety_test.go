package backup

import (
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/repo"
)

// TestSafetyRetention keeps the snapshot of what a restore replaced for a week, and longer only as long as a good one of its
// age stays; it is never taken for the newest good one.
func TestSafetyRetention(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	made := func(id byte, days int, tags ...string) repo.Snapshot {
		return repo.Snapshot{ID: repo.ID{id}, Time: now.AddDate(0, 0, -days), Hostname: "shop-server", Paths: []string{"/shop"},
			Tags: append([]string{tagOurs}, tags...)}
	}
	p := &Retention{Last: 1}
	for _, c := range []struct {
		name  string
		group []repo.Snapshot
		keep  []bool
	}{
		{"the newest of all", []repo.Snapshot{made(1, 1, tagSafety), made(2, 2)}, []bool{true, true}},
		{"behind good ones", []repo.Snapshot{made(1, 1), made(2, 6, tagSafety), made(3, 6)}, []bool{true, true, false}},
		{"behind good ones, a week later", []repo.Snapshot{made(1, 1), made(2, 8, tagSafety), made(3, 9)}, []bool{true, false, false}},
		{"suspect too", []repo.Snapshot{made(1, 1), made(2, 6, tagSafety, tagSuspect)}, []bool{true, true}},
	} {
		for i, f := range p.decide(c.group, now, time.UTC) {
			if f.keep != c.keep[i] || len(f.reasons) == 0 {
				t.Errorf("%s: snapshot %d: %+v", c.name, i, f)
			}
		}
		if s := newestGood(c.group, "shop", "shop-server"); s == nil || safety(*s) {
			t.Errorf("%s: %+v is the newest good one", c.name, s)
		}
	}
}

func TestScratchNames(t *testing.T) {
	run := "20261122t043109z-1a2b"
	name := scratchName(run)
	if got, at, ok := runOfScratch(name); got != run || !ok || at.IsZero() || len(name) > 60 {
		t.Errorf("%s is of %s, %v", name, got, ok)
	}
	if other := scratchName(run); other == name {
		t.Error("two have the same name")
	}
	for _, name := range []string{"", "shop", ScratchPrefix, ScratchPrefix + "shop", name + "x", "x" + name} {
		if _, _, ok := runOfScratch(name); ok {
			t.Errorf("%s passes for ours", name)
		}
	}
}

func TestCompared(t *testing.T) {
	rows := map[string]int64{"a": 1, "b": 2}
	for _, c := range []struct {
		was, is Facts
		text    string
		fails   bool
	}{
		{Facts{Rows: rows}, Facts{Rows: rows}, "; rows of 2 tables as dumped", false},
		{Facts{Rows: rows}, Facts{}, "", false},
		{Facts{}, Facts{Rows: rows}, "", false},
		{Facts{Rows: rows}, Facts{Rows: map[string]int64{"a": 1, "b": 3}}, "", true},
		{Facts{Rows: rows}, Facts{Rows: map[string]int64{"a": 1}}, "", true},
		{Facts{Rows: rows}, Facts{Rows: map[string]int64{"a": 1, "b": 2, "c": 0}}, "", true},
		{Facts{Rows: rows}, Facts{Rows: map[string]int64{}}, "", true},
		{Facts{Digests: map[string]string{"a": "00"}}, Facts{Digests: map[string]string{"a": "01"}}, "", true},
	} {
		text, err := compared(c.was, c.is)
		if text != c.text || (err != nil) != c.fails {
			t.Errorf("%v, %v: %q, %v", c.was, c.is, text, err)
		}
	}
}
