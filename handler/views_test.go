package handler

import (
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
)

// TestNewest: the size of a job is not that of what a restore replaced.
func TestNewest(t *testing.T) {
	row := func(id string, tags ...string) snapshotView {
		return snapshotView{tagged: tagged{backup.Snapshot{ID: id, Tags: tags}}}
	}
	if v := (jobView{Snapshots: []snapshotView{row("c", safety, suspect), row("b", suspect), row("a")}}).Newest(); v == nil || v.ID != "b" {
		t.Errorf("%+v", v)
	}
	if v := (jobView{Snapshots: []snapshotView{row("c", safety)}}).Newest(); v != nil {
		t.Errorf("%+v", v)
	}
}
