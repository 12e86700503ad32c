package dump

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// A whole Service: what fails makes no snapshot and leaves nothing, the next run is green, its manifest tells what was
// found out, and what it stored comes back.
func testPostgresGreen(t *testing.T, pg *realtest.Postgres) {
	p := pgSource(t, pg.DSN("the shop"))
	on := true
	p.Globals = &on
	e := backuptest.New(t, func(c *backup.Config) {
		c.Jobs[0].Sources = []backup.NamedSource{{Name: "db", Kind: "postgres", Source: p}}
	})
	const job = "shop"
	for i, body := range []string{"exit 0", "echo half; exit 1", `"$REAL/pg_dump" "$@" | head -c 100000`} {
		t.Run(body, func(t *testing.T) {
			p.Programs = fakePrograms(t, pg, "99.1", body, `exec "$REAL/pg_restore" "$@"`)
			defer func() { p.Programs = "" }()
			if i > 0 { // the first run opens the journal
				dumptest.NothingLeft(t)
			}
			if run := e.RunBackup(t, job); run.State != backup.StateFailed || run.Snapshot != "" || !strings.Contains(run.Error, "the archive is not whole") && !strings.Contains(run.Error, "pg_dump ended") {
				t.Errorf("%+v", run)
			}
			if list, err := e.Service.Snapshots(t.Context(), backup.SnapshotQuery{}); err != nil || list.Total != 0 {
				t.Errorf("%+v, %v", list, err)
			}
		})
	}
	s := e.Backed(t, job)
	if len(s.Manifest.Parts) != 2 || s.Manifest.Parts[1].Rows["public.product"] != 5000 || s.Manifest.Parts[0].Name != "db"+globalsSuffix {
		t.Errorf("%+v", s.Manifest)
	}
	run, err := e.Service.Restore(t.Context(), "test", backup.RestoreRequest{Repository: "default", Snapshot: s.ID, Path: "/" + job + "/db.dump", Place: "from the service"})
	if err != nil {
		t.Fatal(err)
	}
	if run = e.Wait(t, run.ID); run.State != backup.StateOK {
		t.Errorf("%+v", run)
	}
	want := pgState(t, pg, "the shop")
	samePgState(t, pgState(t, pg, "from the service"), want)
	pg.SQL(t, "the shop", "DROP TABLE product CASCADE; CREATE ROLE unneeded; DELETE FROM account")
	run, err = e.Service.Restore(t.Context(), "test", backup.RestoreRequest{Repository: "default", Snapshot: s.ID, Overwrite: true, Confirm: job})
	if err != nil {
		t.Fatal(err)
	}
	if run = e.Wait(t, run.ID); run.State != backup.StateOK || !strings.HasPrefix(run.Summary, "roles and tablespaces and the shop were replaced") {
		t.Errorf("%+v", run)
	}
	samePgState(t, pgState(t, pg, "the shop"), want)
	if s, err := e.Service.Snapshots(t.Context(), backup.SnapshotQuery{}); err != nil || s.Total != 2 || run.Undo == "" {
		t.Errorf("no way back: %+v, %v, %s", s, err, run.Undo)
	}
	runs, err := e.Service.Runs(t.Context(), backup.RunFilter{})
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(s)
	all := string(text)
	for _, r := range runs {
		r, err := e.Service.Run(t.Context(), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		all += fmt.Sprintf("%+v", r)
	}
	if strings.Contains(all, pg.Password) {
		t.Errorf("the password is told: %s", all)
	}
}
