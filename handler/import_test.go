package handler

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
)

func TestImportThroughTheClient(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop_2025-11-21.sql")
	if err := os.WriteFile(path, []byte("old data"), 0o600); err != nil {
		t.Fatal(err)
	}
	clients(t, func(t *testing.T, env *backuptest.Env, c *Client) {
		files := make([]string, 2000) // longer than other requests may be
		for i := range files {
			files[i] = path
		}
		run, err := c.Import(t.Context(), backup.ImportRequest{Job: "shop", Part: "db.sql", Files: files, TimeFormat: "%Y-%m-%d"})
		if err != nil {
			t.Fatal(err)
		}
		run = wait(t, c, run.ID)
		if run.State != backup.StateOK || run.Kind != backup.KindImport || len(run.Findings) != 1 {
			t.Fatalf("%+v", run)
		}
		if got := string(env.Read(t, run.Snapshot, "db.sql")); got != "old data" {
			t.Errorf("%q", got)
		}
	})
}
