package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// shortDir is a folder whose path is short enough for a socket in it.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "quickstart")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestQuickstart runs the whole story on a little shop, looks at the page, and has restic read the repository.
func TestQuickstart(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", "") // restored behind the one that quickstart sets
	dir := shortDir(t)
	port := realtest.FreePort(t) // nobody else can be given it until Caddy listens there
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := quickstart(ctx, w, options{dir: dir, port: port, size: little})
		w.CloseWithError(io.EOF)
		done <- err
	}()
	var text strings.Builder
	for lines := bufio.NewScanner(r); lines.Scan(); {
		text.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), "Ctrl-C") {
			break
		}
	}
	told := text.String()
	t.Log(told)
	for _, want := range []string{"1st backup  ok", "2nd backup  ok", "compare  equal"} {
		if !strings.Contains(strings.Join(strings.Fields(told), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("it does not say %q", want)
		}
	}
	if url := regexp.MustCompile(`http://\S+`).FindString(told); url != "" {
		lookAt(t, url)
	}
	stop()
	go io.Copy(io.Discard, r)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	file := regexp.MustCompile(`--password-file (\S+)`).FindStringSubmatch(told)
	if file == nil {
		t.Fatal("it does not say where the password is")
	}
	password, err := os.ReadFile(file[1])
	if err != nil {
		t.Fatal(err)
	}
	repository := filepath.Join(dir, "repository")
	realtest.Restic(t, repository, strings.TrimSpace(string(password)), "check", "--read-data")
	if out := realtest.Restic(t, repository, strings.TrimSpace(string(password)), "ls", "latest"); !strings.Contains(out, "/shop/manifest.json") {
		t.Errorf("restic lists:\n%s", out)
	}
}

func lookAt(t *testing.T, url string) {
	t.Helper()
	for _, c := range []struct {
		user   string
		status int
	}{{"", http.StatusUnauthorized}, {"demo", http.StatusOK}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.user != "" {
			req.SetBasicAuth(c.user, "demo")
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != c.status {
			t.Errorf("user %q: %s\n%s", c.user, resp.Status, body)
		}
		if c.user != "" && !strings.Contains(string(body), "shop") {
			t.Errorf("the page does not show the job:\n%s", body)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestPrepare(t *testing.T) {
	dir := shortDir(t)
	if err := os.WriteFile(filepath.Join(dir, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := prepare(dir); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("a folder of somebody else's: %v", err)
	}
	own := filepath.Join(dir, "own")
	for range 2 { // the second time over what the first one left
		p, err := prepare(own)
		if err != nil {
			t.Fatal(err)
		}
		if err := writeCaddyfile(p, 8421); err != nil {
			t.Fatal(err)
		}
		if left, _ := os.ReadDir(own); len(left) != 1 {
			t.Errorf("%d files are left", len(left))
		}
	}
	if _, err := prepare(filepath.Join(dir, strings.Repeat("long", 30))); err == nil {
		t.Error("no error for a path that is too long for a socket")
	}
}

// TestCompareFindsFaults proves that the comparison is not blind.
func TestCompareFindsFaults(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.db"), filepath.Join(dir, "b.db")
	s, err := newShop(t.Context(), a, little)
	if err != nil {
		t.Fatal(err)
	}
	defer s.db.Close()
	if _, err := s.db.Exec("VACUUM INTO ?", b); err != nil {
		t.Fatal(err)
	}
	if err := compare(t.Context(), a, b); err != nil {
		t.Fatal(err)
	}
	db, err := openDB(b)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("UPDATE order_items SET quantity = quantity + 1 WHERE order_id = 7 AND line = 1"); err != nil {
		t.Fatal(err)
	}
	if err := compare(t.Context(), a, b); err == nil || !strings.Contains(err.Error(), "order_items") {
		t.Errorf("a changed line: %v", err)
	}
}
