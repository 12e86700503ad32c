package integration

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/handler"
)

// TestSite backs up a live SQLite database from a site with basic_auth, as the page does it, below a path of its own and
// on a site of its own.
func TestSite(t *testing.T) {
	w := newWorld(t)
	makeDatabase(t, filepath.Join(w.dir, "shop.sqlite3"), 500)
	own, below := freeAddress(t), freeAddress(t)
	users := "basic_auth {\n" + user(t, "alice") + user(t, "olga") + user(t, "victor") + "}\n"
	roles := "backup {\nadmin alice\noperator olga\nviewer victor\n}\n"
	w.begin(w.config("job shop {\n\tsource db sqlite "+w.dir+"/shop.sqlite3\n}",
		"http://"+own+" {\nbind 127.0.0.1\n"+users+roles+"}\n"+
			"http://"+below+" {\nbind 127.0.0.1\nhandle_path /backups/* {\n"+users+roles+"}\nrespond \"the shop\"\n}\n"))

	for _, root := range []string{"http://" + own + "/", "http://" + below + "/backups/"} {
		t.Run(root, func(t *testing.T) {
			if got := status(t, "GET", root, ""); got != http.StatusUnauthorized {
				t.Errorf("without a user the page answers %d", got)
			}
			page := body(t, "GET", root, "victor", http.StatusOK)
			if !strings.Contains(page, "shop") {
				t.Errorf("the page does not show the job:\n%s", page)
			}
			if got := status(t, "POST", root+"api/jobs/shop/run", "victor"); got != http.StatusForbidden {
				t.Errorf("a viewer may run: %d", got)
			}
			var run backup.Run
			answer := body(t, "POST", root+"api/jobs/shop/run", "olga", http.StatusAccepted)
			if err := json.Unmarshal([]byte(answer), &run); err != nil {
				t.Fatal(err)
			}
			site := &handler.Client{Base: root + "api/", HTTP: &http.Client{Transport: as("victor")}}
			run = finish(t, site, run.ID)
			if run.State != backup.StateOK || run.By != "olga" {
				t.Fatalf("the run by %s ended as %s: %s", run.By, run.State, run.Error)
			}
			copied := body(t, "GET", root+"api/snapshots/"+run.Snapshot+"/files/shop/db.sqlite3", "olga", http.StatusOK)
			wantRows(t, []byte(copied), 500)
		})
	}
	if got := body(t, "GET", "http://"+below+"/", "", http.StatusOK); got != "the shop" {
		t.Errorf("beside the handler the site answers %q", got)
	}
}

func user(t *testing.T, name string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(name), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return name + " " + string(hash) + "\n"
}

// as sends requests as a user whose password is the name; without a name, as nobody.
type as string

func (name as) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	if name != "" {
		r.SetBasicAuth(string(name), string(name))
	}
	return http.DefaultTransport.RoundTrip(r)
}

func ask(t *testing.T, method, url, name string) *http.Response {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := as(name).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func status(t *testing.T, method, url, name string) int {
	t.Helper()
	resp := ask(t, method, url, name)
	read(t, resp)
	return resp.StatusCode
}

func body(t *testing.T, method, url, name string, want int) string {
	t.Helper()
	resp := ask(t, method, url, name)
	text := read(t, resp)
	if resp.StatusCode != want {
		t.Fatalf("%s %s as %s: got %s, want %d: %s", method, url, name, resp.Status, want, text)
	}
	return text
}

func read(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// makeDatabase makes a database in WAL mode, with so many rows.
func makeDatabase(t *testing.T, path string, rows int) {
	t.Helper()
	db := open(t, path)
	for _, statement := range []string{
		"pragma journal_mode=wal",
		"create table orders (id integer primary key, what text)",
		fmt.Sprintf("with recursive n(i) as (select 1 union all select i+1 from n where i < %d) "+
			"insert into orders (what) select 'order ' || i from n", rows),
	} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
}

func wantRows(t *testing.T, database []byte, want int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy.sqlite3")
	if err := os.WriteFile(path, database, 0o600); err != nil {
		t.Fatal(err)
	}
	var got int
	if err := open(t, path).QueryRow("select count(*) from orders").Scan(&got); err != nil || got != want {
		t.Errorf("%d rows, %v; want %d", got, err, want)
	}
}

func open(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}
