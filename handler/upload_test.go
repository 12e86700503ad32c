package handler

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
)

// dumpFile is a database with one good in it, as a file.
func dumpFile(t *testing.T, name string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "dump")
	execute(t, file, "CREATE TABLE goods (name TEXT); INSERT INTO goods VALUES ('"+name+"')")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func zipped(data []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(data)
	_ = z.Close()
	return b.Bytes()
}

// uploadBody is the body of a form with a file, and its content type.
func uploadBody(file []byte, pairs ...string) (string, string) {
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	for i := 0; i+1 < len(pairs); i += 2 {
		_ = form.WriteField(pairs[i], pairs[i+1])
	}
	w, _ := form.CreateFormFile("file", "../"+evil)
	_, _ = w.Write(file)
	_ = form.Close()
	return b.String(), form.FormDataContentType()
}

func sendFile(t *testing.T, user, url string, file []byte, pairs ...string) answer {
	t.Helper()
	body, media := uploadBody(file, pairs...)
	// The server may refuse it before it has come: with Expect nothing is sent then that breaks the connection.
	return as(t, user, "POST", url, body, "Content-Type", media, "Expect", "100-continue")
}

// uploaded waits for the run that an upload led to.
func uploaded(t *testing.T, env *backuptest.Env, a answer) backup.Run {
	t.Helper()
	if a.status != 303 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	return ended(t, env, path.Base(a.header.Get("Location")))
}

// TestUploadForms restores a dump file from the page: over the live one, and as something new.
func TestUploadForms(t *testing.T) {
	env, database, _ := sqliteJob(t)
	root := filepath.Join(t.TempDir(), "made")
	server := mustSite(t, env.Service, `, "allow_upload": 1000000, "restore_root": "`+root+`"`)
	needs(t, "the job", get(t, "anna", server.URL+"/jobs/shop").body, "Restore from a dump file")
	needs(t, "the form", get(t, "anna", server.URL+"/jobs/shop/upload").body, "db.sqlite3", "977 KiB", "!media")
	a := send(t, "anna", server.URL+"/jobs/shop/upload", "part", evil)
	if a.status != 400 {
		t.Errorf("%d", a.status)
	}
	needs(t, "no such part", a.body, "Nothing was started")
	unescaped(t, "no such part", a.body)

	look := sent(t, env, server.URL+"/jobs/shop/upload", "part", "db.sqlite3")
	page := server.URL + "/runs/" + look.ID
	needs(t, "the look", get(t, "anna", page).body, database, "multipart/form-data", "Choose only a file that you trust")
	for name, c := range map[string]struct {
		file  []byte
		pairs []string
		want  string
	}{
		"not confirmed":   {dumpFile(t, "milk"), []string{"way", "over"}, "give its name"},
		"wrong confirmed": {dumpFile(t, "milk"), []string{"way", "over", "confirm", evil}, "does not confirm"},
		"far too large":   {make([]byte, 1_100_000), []string{"way", "over", "confirm", database}, "allow_upload lets 977 KiB through"},
	} {
		a := sendFile(t, "anna", page+"/upload", c.file, c.pairs...)
		if a.status < 400 || a.status >= 500 {
			t.Errorf("%s: %d", name, a.status)
		}
		needs(t, name, a.body, c.want)
		unescaped(t, name, a.body)
	}
	good := dumpFile(t, "milk")
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"another kind":   {[]byte("PGDMP....................."), "looks like a dump of a source of kind postgres"},
		"a script":       {[]byte(strings.Repeat("no database ", 1000)), "it is no SQLite database"},
		"cut off":        {good[:len(good)/2], "is as it was before"},
		"cut off zipped": {zipped(good)[:100], "cut off"},
		"empty":          {nil, "it is empty"},
		"xz":             {[]byte("\xfd7zXZ\x00abcdefgh"), "packed with xz"},
	} {
		run := uploaded(t, env, sendFile(t, "anna", page+"/upload", c.file, "way", "over", "confirm", database))
		if run.State != backup.StateFailed || !strings.Contains(run.Error, c.want) || run.Code == backup.CodeIncomplete {
			t.Errorf("%s: %s %s", name, run.State, run.Error)
		}
		if got := goods(t, database); got != "tea coffee" {
			t.Fatalf("%s: %q", name, got)
		}
		unescaped(t, name, get(t, "anna", server.URL+"/runs/"+run.ID).body)
	}
	body, media := uploadBody(append(bytes.Clone(good), make([]byte, 2_000_000)...), "way", "over", "confirm", database)
	req, err := http.NewRequest("POST", page+"/upload", io.MultiReader(strings.NewReader(body))) // of a length that is not told
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", media)
	req.Header.Set(userHeader, "anna")
	if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
		resp.Body.Close()
	}
	runs, err := env.Runs(t.Context(), backup.RunFilter{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	if run := ended(t, env, runs[0].ID); !strings.Contains(run.Error, "allow_upload lets 977 KiB through") || goods(t, database) != "tea coffee" {
		t.Errorf("too large: %+v", run)
	}

	run := uploaded(t, env, sendFile(t, "anna", page+"/upload", zipped(good), "way", "over", "confirm", database))
	if got := goods(t, database); run.State != backup.StateOK || got != "milk" || run.Undo == "" {
		t.Errorf("%+v: %q", run, got)
	}
	body = get(t, "anna", server.URL+"/runs/"+run.ID).body
	needs(t, "its run", body, "What was replaced", "/undo")
	unescaped(t, "its run", body)
	run = uploaded(t, env, sendFile(t, "anna", page+"/upload", dumpFile(t, "rice"), "way", "beside"))
	if run.State != backup.StateOK || filepath.Dir(run.Place) != root || goods(t, run.Place) != "rice" || goods(t, database) != "milk" {
		t.Errorf("%+v", run)
	}
	if left, _ := os.ReadDir(root); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
	for _, wrong := range []string{run.ID, "nosuch"} {
		if a := sendFile(t, "anna", server.URL+"/runs/"+wrong+"/upload", good, "way", "beside"); a.status != 400 && a.status != 404 {
			t.Errorf("%s: %d", wrong, a.status)
		}
	}
}

// TestUploadRefused refuses uploads where nobody allowed them, and says which word does.
func TestUploadRefused(t *testing.T) {
	env, _, _ := sqliteJob(t)
	plain, allowed := mustSite(t, env.Service, ""), mustSite(t, env.Service, `, "allow_upload": 1000000`)
	needs(t, "the job", get(t, "anna", plain.URL+"/jobs/shop").body, "!dump file")
	for _, a := range []answer{get(t, "anna", plain.URL+"/jobs/shop/upload"), sendFile(t, "anna", plain.URL+"/api/jobs/shop/upload", nil),
		send(t, "anna", plain.URL+"/jobs/shop/upload", "part", "db.sqlite3")} {
		if a.status != 403 || !strings.Contains(a.body, "allow_upload") {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	for _, user := range []string{"vera", "otto", ""} {
		if a := sendFile(t, user, allowed.URL+"/api/jobs/shop/upload", nil, "part", "db.sqlite3"); a.status != 403 {
			t.Errorf("%s: %d", user, a.status)
		}
	}
	at := allowed.URL + "/api/jobs/shop/upload"
	if a := sendFile(t, "anna", at, dumpFile(t, "x"), "part", "db.sqlite3"); a.status != 403 || !strings.Contains(a.body, "restore_root") {
		t.Errorf("a new file without a place: %d %s", a.status, a.body)
	}
	if a := sendFile(t, "anna", at, nil, "part", "media", "overwrite", "true"); a.status != 400 {
		t.Errorf("a folder: %d %s", a.status, a.body)
	}
	if a := as(t, "anna", "POST", at, "x"); a.status != 415 {
		t.Errorf("no form: %d %s", a.status, a.body)
	}
	if a := sendFile(t, "anna", at, nil, "part", strings.Repeat("x", maxBody+1)); a.status != 400 {
		t.Errorf("a long field: %d %s", a.status, a.body)
	}
	if a := sendFile(t, "anna", at, nil, strings.Repeat("x", maxBody+1), ""); a.status != 400 || !strings.Contains(a.body, "too long") {
		t.Errorf("a field with a long name: %d %s", a.status, a.body)
	}
	if runs, err := env.Runs(t.Context(), backup.RunFilter{}); err != nil || len(runs) != 0 {
		t.Errorf("%v %v", runs, err)
	}
}

// TestUploadThroughTheAPI is the way of programs.
func TestUploadThroughTheAPI(t *testing.T) {
	env, database, _ := sqliteJob(t)
	api := &API{Service: func() *backup.Service { return env.Service }, UploadLimit: 1 << 20, RestoreRoot: t.TempDir(),
		Caller: func(*http.Request) Caller { return Caller{Name: "anna", Role: Admin} }}
	client := &Client{Base: "http://standalone/", HTTP: &http.Client{Transport: InProcess(api)}}
	q := backup.FileRestore{Job: "shop", Part: "db.sqlite3", File: "goods.db.gz", Overwrite: true, Confirm: database}
	run, err := client.Upload(t.Context(), q, bytes.NewReader(zipped(dumpFile(t, "salt"))))
	if err != nil {
		t.Fatal(err)
	}
	if run = ended(t, env, run.ID); run.State != backup.StateOK || goods(t, database) != "salt" || !strings.Contains(run.Summary, "goods.db.gz") {
		t.Errorf("%+v", run)
	}
	q.Confirm = "shop"
	if _, err := client.Upload(t.Context(), q, bytes.NewReader(nil)); !errors.Is(err, backup.ErrInvalid) {
		t.Error(err)
	}
	api.Unlimited = true
	if _, err := client.Upload(t.Context(), q, bytes.NewReader(nil)); !errors.Is(err, backup.ErrInvalid) {
		t.Error(err)
	}
}

// An upload that breaks off, or whose run is cancelled while it waits for more, leaves the live one as it was.
func TestUploadBreaksOff(t *testing.T) {
	env, database, _ := sqliteJob(t)
	server := mustSite(t, env.Service, `, "allow_upload": 10000000`)
	body, media := uploadBody(append(dumpFile(t, "sand"), make([]byte, 1<<20)...), "part", "db.sqlite3", "overwrite", "true", "confirm", database)
	begin := func() (net.Conn, backup.Run) {
		known, _ := env.Runs(t.Context(), backup.RunFilter{})
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		head := "POST /api/jobs/shop/upload HTTP/1.1\r\nHost: x\r\n" + userHeader + ": anna\r\nContent-Type: " + media + "\r\nContent-Length: 9000000\r\n\r\n"
		if _, err := io.WriteString(conn, head+body[:600_000]); err != nil {
			t.Fatal(err)
		}
		for {
			runs, err := env.Runs(t.Context(), backup.RunFilter{})
			if err != nil || t.Context().Err() != nil {
				t.Fatal(err)
			}
			if len(runs) > len(known) && runs[0].Touched && runs[0].Progress.Bytes > 500_000 {
				return conn, runs[0]
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	conn, run := begin()
	conn.Close()
	run = ended(t, env, run.ID)
	if run.State != backup.StateFailed || !strings.Contains(run.Error, "the upload broke off") || !strings.Contains(run.Error, "is as it was before") {
		t.Errorf("%s %s", run.State, run.Error)
	}
	conn, run = begin()
	defer conn.Close()
	if err := env.Cancel(context.Background(), "anna", run.ID); err != nil {
		t.Fatal(err)
	}
	if run = ended(t, env, run.ID); run.State != backup.StateCancelled || run.Code == backup.CodeIncomplete {
		t.Errorf("%s %s", run.State, run.Error)
	}
	if got := goods(t, database); got != "tea coffee" {
		t.Errorf("%q", got)
	}
	left, _ := os.ReadDir(filepath.Dir(database))
	if len(left) != 2 { // the database and the folder media
		t.Errorf("left: %v", left)
	}
}
