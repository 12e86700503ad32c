package handler

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/dump"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// TestPostgresFromThePage restores a database of a real server beside the live one, and a dump file over it; that the user of
// the dsn is a superuser is told before.
func TestPostgresFromThePage(t *testing.T) {
	if testing.Short() {
		t.Skip("short: the server is started by the run without -short")
	}
	pg := realtest.StartPostgres(t)
	pg.SQL(t, "postgres", "CREATE DATABASE shop")
	pg.SQL(t, "shop", "CREATE TABLE goods (name text); INSERT INTO goods VALUES ('tea')")
	source := &dump.Postgres{DSN: pg.DSN("shop")}
	if err := errors.Join(source.Provision(caddy.Context{}), source.Validate()); err != nil {
		t.Fatal(err)
	}
	env := backuptest.New(t, func(c *backup.Config) {
		c.Jobs[0].Sources = []backup.NamedSource{{Name: "db", Kind: "postgres", Source: source}}
	})
	sold := func(database string) string { return strings.TrimSpace(pg.SQL(t, database, "SELECT name FROM goods")) }
	snap := env.Backed(t, "shop")
	server := mustSite(t, env.Service, `, "allow_upload": 10000000`)
	form := server.URL + "/snapshots/" + snap.ID + "/restore"
	needs(t, "the form", get(t, "anna", form).body, "Into a new database", "!Everything")

	run := sent(t, env, form, "path", "/shop/db.dump", "way", "beside")
	if run.State != backup.StateOK || !strings.HasPrefix(run.Place, "shop_restored_") || sold(run.Place) != "tea" {
		t.Errorf("%+v", run)
	}
	needs(t, "its run", get(t, "anna", server.URL+"/runs/"+run.ID).body, "Into <code>"+run.Place)

	file := t.TempDir() + "/dump"
	if out, err := exec.Command(pg.Program("pg_dump"), "-Fc", "-f", file, pg.DSN("shop")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pg.SQL(t, "shop", "DELETE FROM goods")
	look := sent(t, env, server.URL+"/jobs/shop/upload", "part", "db.dump")
	page := server.URL + "/runs/" + look.ID
	needs(t, "the look", get(t, "anna", page).body, "is a superuser", "type <code>shop</code>")
	run = uploaded(t, env, sendFile(t, "anna", page+"/upload", zipped(data[:len(data)-200]), "way", "over", "confirm", "shop"))
	if run.State != backup.StateFailed || !strings.Contains(run.Error, "is as it was before") || sold("shop") != "" {
		t.Errorf("cut off: %+v", run)
	}
	run = uploaded(t, env, sendFile(t, "anna", page+"/upload", zipped(data), "way", "over", "confirm", "shop"))
	if run.State != backup.StateOK || sold("shop") != "tea" {
		t.Errorf("%+v", run)
	}
	run = uploaded(t, env, sendFile(t, "anna", page+"/upload", data, "way", "beside"))
	if run.State != backup.StateOK || sold(run.Place) != "tea" {
		t.Errorf("%+v", run)
	}
}
