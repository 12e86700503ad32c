package integration

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/handler"
)

// TestUpload restores dump files that are uploaded to a real Caddy, which cuts requests that stall: one that waits for its turn
// is not cut, one whose client sends nothing more is, and leaves the live one as it was.
func TestUpload(t *testing.T) {
	w := newWorld(t)
	live, dump := filepath.Join(w.dir, "shop.sqlite3"), filepath.Join(w.dir, "dump.sqlite3")
	fill(t, live, "live")
	fill(t, dump, "dump")
	address := freeAddress(t)
	w.begin(w.config("job shop {\n\tsource db sqlite "+live+"\n}\n}\nservers {\ntimeouts {\nread_body_idle 1s\n}",
		"http://"+address+" {\nbind 127.0.0.1\nbasic_auth {\n"+user(t, "alice")+"}\nbackup {\nadmin alice\nallow_upload 10MiB\n}\n}\n"))
	site := &handler.Client{Base: "http://" + address + "/api/", HTTP: &http.Client{Transport: as("alice")}}
	q := backup.FileRestore{Job: "shop", Part: "db.sqlite3", File: "dump.sqlite3", Overwrite: true, Confirm: live}

	var run backup.Run
	var err error
	for range 5 { // on a machine with much else to do a client may be too slow by itself; one that waits would be cut each time
		_ = os.Remove(filepath.Join(w.dir, "release"))
		slow := w.startSlow() // it has the turn
		time.AfterFunc(2500*time.Millisecond, w.release)
		if run, err = w.upload(site, q, dump); err == nil {
			run = finish(t, site, run.ID)
		}
		finish(t, admin, slow.ID)
		if run.State == backup.StateOK {
			break
		}
	}
	if run.State != backup.StateOK || filled(t, live) != "dump" {
		t.Errorf("%s %s, %v: %s", run.State, run.Error, err, filled(t, live))
	}

	fill(t, live, "live again")
	stalled, err := os.ReadFile(dump)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	more, less := net.Pipe() // never written to again
	defer more.Close()
	var runs []backup.Run
	for range 5 { // as above: it may be cut before there is a run
		_, _ = site.Upload(ctx, q, io.MultiReader(strings.NewReader(string(stalled[:2<<20])), less))
		if ctx.Err() != nil {
			t.Error("the stalled upload was not cut")
		}
		if runs, err = site.Runs(t.Context(), backup.RunFilter{Job: "shop", Kind: backup.KindRestore, Limit: 1}); err != nil {
			t.Fatal(err)
		}
		if runs[0].ID != run.ID {
			break
		}
	}
	if run = finish(t, site, runs[0].ID); run.State != backup.StateFailed || !strings.Contains(run.Error, "is as it was before") || filled(t, live) != "live again" {
		t.Errorf("%s %s: %s", run.State, run.Error, filled(t, live))
	}
}

// upload sends a file.
func (w *world) upload(site *handler.Client, q backup.FileRestore, path string) (backup.Run, error) {
	w.Helper()
	file, err := os.Open(path)
	if err != nil {
		w.Fatal(err)
	}
	defer file.Close()
	return site.Upload(w.Context(), q, file)
}

// fill makes a database anew that has a word in it, and a few MiB of noise. Nobody has it open afterwards.
func fill(t *testing.T, path, word string) {
	t.Helper()
	_ = os.Remove(path)
	noise := make([]byte, 4<<20)
	_, _ = rand.Read(noise)
	db, err := sql.Open("sqlite", path)
	if err == nil {
		_, err = db.Exec("CREATE TABLE words (word TEXT, noise BLOB); INSERT INTO words VALUES (?, ?)", word, noise)
		err = errors.Join(err, db.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func filled(t *testing.T, path string) (word string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow("SELECT word FROM words").Scan(&word); err != nil {
		return err.Error()
	}
	return word
}
