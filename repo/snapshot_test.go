package repo

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

var treeID = Hash([]byte("tree"))

func snapshotAt(at time.Time) Snapshot {
	return Snapshot{Time: at, Tree: treeID, Paths: []string{"/shop"}, Hostname: "web1", Username: "caddy", Tags: []string{"caddy-backup"}}
}

// TestSnapshotGolden holds order and omission of the fields to the format.
func TestSnapshotGolden(t *testing.T) {
	at := time.Date(2024, 3, 4, 5, 6, 7, 890, time.FixedZone("", -5*3600))
	other := Hash([]byte("other"))
	for _, c := range []struct {
		s    Snapshot
		want string
	}{
		{Snapshot{Time: at, Tree: treeID}, `{"time":"2024-03-04T05:06:07.00000089-05:00","tree":"` + treeID.String() + `","paths":null}`},
		{
			Snapshot{
				Time: at.UTC(), Parent: &other, Tree: treeID, Paths: []string{"/b", "/a"}, Hostname: "h", Username: "u", UID: 1, GID: 2, Excludes: []string{"*.tmp"},
				Tags: []string{"x", "a"}, Original: &other, ProgramVersion: "p 1", Summary: &Summary{BackupStart: at.UTC(), BackupEnd: at.UTC(), FilesNew: 1, DataAddedPacked: 1 << 60},
			},
			`{"time":"2024-03-04T10:06:07.00000089Z","parent":"` + other.String() + `","tree":"` + treeID.String() + `","paths":["/b","/a"],"hostname":"h","username":"u","uid":1,"gid":2,` +
				`"excludes":["*.tmp"],"tags":["x","a"],"original":"` + other.String() + `","program_version":"p 1",` +
				`"summary":{"backup_start":"2024-03-04T10:06:07.00000089Z","backup_end":"2024-03-04T10:06:07.00000089Z","files_new":1,"files_changed":0,"files_unmodified":0,` +
				`"dirs_new":0,"dirs_changed":0,"dirs_unmodified":0,"data_blobs":0,"tree_blobs":0,"data_added":0,"data_added_packed":1152921504606846976,` +
				`"total_files_processed":0,"total_bytes_processed":0}}`,
		},
	} {
		r, _ := newTestRepo(t, Options{})
		s, err := r.saveSnapshot(t.Context(), c.s)
		if err != nil {
			t.Fatal(err)
		}
		text, err := r.loadUnpacked(t.Context(), "snapshots", s.ID)
		if err != nil || string(text) != c.want {
			t.Errorf("stored as\n%s%v\nwant\n%s", text, err, c.want)
		}
		list, err := r.Snapshots(t.Context())
		if err != nil || len(list) != 1 || list[0].ID != s.ID {
			t.Fatal(list, err)
		}
		_, offset := list[0].Time.Zone()
		if _, want := c.s.Time.Zone(); offset != want || !list[0].Time.Equal(c.s.Time) {
			t.Errorf("time = %s, want %s", list[0].Time, c.s.Time)
		}
	}
}

func TestParseSnapshot(t *testing.T) {
	tree := `"tree":"` + treeID.String() + `"`
	for _, text := range []string{
		`{"time":"2024-03-04T05:06:07Z",` + tree + `,"paths":null}`, `{"time":"2024-03-04T05:06:07+00:00",` + tree + `}`,
		" {\n" + tree + `, "new":{"a":[]}, "time" : "2024-03-04T05:06:07Z"} ` + "\n",
		`{"time":"2024-03-04T05:06:07Z",` + tree + `,"parent":null,"original":null,"tags":null,"summary":null}`,
	} {
		if s, err := parseSnapshot([]byte(text)); err != nil || s.Tree != treeID || s.Time.Unix() != 1709528767 {
			t.Errorf("%s: %+v, %v", text, s, err)
		}
	}
	for _, text := range []string{
		``, `{}`, `null`, `[]`, `{"time":"2024-03-04T05:06:07Z"}`, `{` + tree + `}`, `{"time":"2024-03-04 05:06:07Z",` + tree + `}`,
		`{"time":"2024-03-04T05:06:07Z","tree":null}`, `{"time":"2024-03-04T05:06:07Z","tree":"ab"}`, `{"time":"2024-03-04T05:06:07Z",` + tree + `} x`,
		`{"time":"2024-03-04T05:06:07Z",` + tree + `,"uid":-1}`, `{"time":"2024-03-04T05:06:07Z",` + tree + `,"paths":"/x"}`,
	} {
		if s, err := parseSnapshot([]byte(text)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %+v, %v", text, s, err)
		}
	}
}

func TestSaveSnapshotRefuses(t *testing.T) {
	r, st := newTestRepo(t, Options{})
	for _, s := range []Snapshot{{}, {Time: time.Now()}, {Tree: treeID}, {Tree: treeID, Time: time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC)}} {
		if _, err := r.saveSnapshot(t.Context(), s); err == nil {
			t.Errorf("%+v was stored", s)
		}
	}
	if files, err := listFiles(t.Context(), st, "snapshots"); err != nil || len(files) != 0 {
		t.Error(files, err)
	}
}

// TestSnapshotsCache follows what others add and remove, and reads every file once.
func TestSnapshotsCache(t *testing.T) {
	_, dir := newTestRepo(t, Options{})
	gets := 0
	st := &faultStorage{dirStorage: dir, fail: func(op, name string) error {
		if op == "get" && strings.HasPrefix(name, "snapshots/") {
			gets++
		}
		return nil
	}}
	r, err := Open(t.Context(), st, []byte("test"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	var ids []ID
	for i := range 3 {
		s, err := r.saveSnapshot(t.Context(), snapshotAt(at.Add(time.Duration(i)*time.Hour)))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, s.ID)
		for range 2 {
			list, err := r.Snapshots(t.Context())
			if err != nil || len(list) != i+1 || list[0].ID != s.ID || gets != i+1 {
				t.Fatalf("after %d: %d snapshots, %v, %d files read", i+1, len(list), err, gets)
			}
			list[0].Tags[0], list[0].Paths[0] = "changed", "by the caller"
		}
	}
	if err := dir.Delete(t.Context(), "snapshots/"+ids[1].String()); err != nil {
		t.Fatal(err)
	}
	list, err := r.Snapshots(t.Context())
	if err != nil || len(list) != 2 || list[0].ID != ids[2] || list[1].ID != ids[0] || gets != 3 {
		t.Errorf("after a deletion: %+v, %v, %d files read", list, err, gets)
	}
	if !reflect.DeepEqual(list[0].Tags, []string{"caddy-backup"}) || list[0].Paths[0] != "/shop" {
		t.Errorf("the caller changed the cache: %+v", list[0])
	}
}

func TestSnapshotsOrder(t *testing.T) {
	r, _ := newTestRepo(t, Options{})
	at := time.Date(2024, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, d := range []time.Duration{0, time.Hour, -time.Hour, 0, 0} {
		if _, err := r.saveSnapshot(t.Context(), snapshotAt(at.Add(d).In(time.FixedZone("", int(d.Seconds()*5))))); err != nil {
			t.Fatal(err)
		}
	}
	list, err := r.Snapshots(t.Context())
	if err != nil || len(list) != 5 {
		t.Fatal(list, err)
	}
	for i := range list[1:] {
		a, b := list[i], list[i+1]
		if a.Time.Before(b.Time) || a.Time.Equal(b.Time) && compareIDs(&a.ID, &b.ID) >= 0 {
			t.Errorf("%s %s stands before %s %s", a.Time, a.ID, b.Time, b.ID)
		}
	}
}

// TestSnapshotsDamaged returns the good ones, names the bad ones, and finds by what is there.
func TestSnapshotsDamaged(t *testing.T) {
	r, st := newTestRepo(t, Options{Location: "/srv/backups"})
	at := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	good, err := r.saveSnapshot(t.Context(), snapshotAt(at))
	if err != nil {
		t.Fatal(err)
	}
	bad, err := r.saveSnapshot(t.Context(), snapshotAt(at.Add(time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Put(t.Context(), "snapshots/"+bad.ID.String(), []byte("rubbish")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		list, err := r.Snapshots(t.Context())
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), bad.ID.String()) || len(list) != 1 || list[0].ID != good.ID {
			t.Errorf("%+v, %v", list, err)
		}
	}
	if s, err := r.FindSnapshot(t.Context(), good.ID.Short(), SnapshotFilter{}); err != nil || s.ID != good.ID {
		t.Errorf("%+v, %v", s, err)
	}
	_, err = r.FindSnapshot(t.Context(), bad.ID.Short(), SnapshotFilter{})
	if !errors.Is(err, ErrNotFound) || !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), bad.ID.String()) {
		t.Errorf("the damaged one: %v", err)
	}
}

func TestPickSnapshot(t *testing.T) {
	id := func(hex string) ID { return ID(unhex(t, hex+strings.Repeat("0", 64-len(hex)))) }
	at := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	orig := func(s string) *ID { i := id(s); return &i }
	all := []Snapshot{ // newest first
		{ID: id("aa11"), Time: at.Add(5), Hostname: "web2", Paths: []string{"/blog"}, Tags: []string{"suspect"}},
		{ID: id("aa22"), Time: at.Add(4), Hostname: "web1", Paths: []string{"/shop", "/x"}, Tags: []string{"a", "b"}},
		{ID: id("bb33"), Time: at.Add(3), Original: orig("cc44"), Hostname: "web1", Paths: []string{"/shop"}},
		{ID: id("dd55"), Time: at.Add(2), Original: orig("dd56")}, // a prefix of both its IDs
		{ID: id("ee66"), Time: at.Add(1)},                         // tags being changed: the old file …
		{ID: id("ff77"), Time: at.Add(1), Original: orig("ee66")}, // … and the new one
		{ID: id("1234"), Time: at, Original: orig("aa33")},
	}
	for _, c := range []struct {
		name   string
		filter SnapshotFilter
		want   string // the ID, or an error
	}{
		{"latest", SnapshotFilter{}, "aa11"}, {"latest", SnapshotFilter{Host: "web1"}, "aa22"},
		{"latest", SnapshotFilter{Paths: []string{"/shop"}}, "aa22"}, {"latest", SnapshotFilter{Paths: []string{"/shop", "/x"}}, "aa22"},
		{"latest", SnapshotFilter{Tags: []string{"b", "a"}}, "aa22"}, {"latest", SnapshotFilter{Tags: []string{"b", "c"}}, "not found"},
		{"latest", SnapshotFilter{Host: "web1", Tags: []string{"suspect"}}, "not found"}, {"latest", SnapshotFilter{Host: "web9"}, "not found"},
		{"aa11", SnapshotFilter{Host: "web1"}, "aa11"}, // a filter is for latest only
		{id("aa11").String(), SnapshotFilter{}, "aa11"}, {"aa1", SnapshotFilter{}, "aa11"}, {"aa", SnapshotFilter{}, "ambiguous"}, {"aa3", SnapshotFilter{}, "1234"},
		{"bb", SnapshotFilter{}, "bb33"}, {"cc", SnapshotFilter{}, "bb33"}, {id("cc44").String(), SnapshotFilter{}, "bb33"}, {"dd5", SnapshotFilter{}, "dd55"},
		{"ee", SnapshotFilter{}, "ff77"}, {id("ee66").String(), SnapshotFilter{}, "ee66"}, {"ff", SnapshotFilter{}, "ff77"},
		{"", SnapshotFilter{}, "not found"}, {"99", SnapshotFilter{}, "not found"}, {"AA11", SnapshotFilter{}, "not found"}, {"lates", SnapshotFilter{}, "not found"},
		{id("aa11").String() + "0", SnapshotFilter{}, "not found"},
	} {
		s, err := pickSnapshot(all, c.name, c.filter)
		got := s.ID.String()[:4]
		switch {
		case errors.Is(err, ErrNotFound):
			got = "not found"
		case errors.Is(err, ErrAmbiguous):
			got = "ambiguous"
		case err != nil:
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%q with %+v: %s, want %s", c.name, c.filter, got, c.want)
		}
	}
}

func FuzzSnapshot(f *testing.F) {
	for _, name := range []string{"snapshots-0.14", "snapshots-latest", "v2-0.14"} {
		fix, _, r := openFixture(f, name)
		for _, s := range fix.Snapshots {
			text, err := r.loadUnpacked(f.Context(), "snapshots", s.ID)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parseSnapshot(text)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		again, err := json.Marshal(s)
		if err != nil {
			return // a zone offset that can be read and not written
		}
		s2, err := parseSnapshot(again)
		if err != nil || !s2.Time.Equal(s.Time) || s2.Tree != s.Tree || s2.StableID() != s.StableID() {
			t.Fatalf("%s: %+v, %v; want %+v", again, s2, err, s)
		}
	})
}
