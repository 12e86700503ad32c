package caddybackup

import (
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
)

func TestRowsOf(t *testing.T) {
	x := backup.Snapshot{Job: "shop", Manifest: &backup.Manifest{Parts: []backup.ManifestPart{
		{Name: "db.dump", Facts: backup.Facts{Rows: map[string]int64{"public.order": 20600, "public.customer": 300}}},
		{Name: "empty.dump", Facts: backup.Facts{Rows: map[string]int64{}}}, {Name: "media", Folder: true},
	}}}
	rows := rowsOf(x)
	if len(rows) != 2 || rows["/shop/db.dump"] != "20,900" || rows["/shop/empty.dump"] != "0" {
		t.Errorf("%q", rows)
	}
}
