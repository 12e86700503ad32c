package integration

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// shop is the example in examples/django: a real Django behind a Caddy with the example's own Caddyfile.
type shop struct {
	*world
	site   string
	client *http.Client // with the cookies of somebody who is logged in, once logIn was called
}

func newShop(t *testing.T) *shop {
	s := &shop{world: newWorld(t), site: "http://" + freeAddress(t)}
	for name, content := range map[string]string{
		"data/invoices/1.txt": "one table, 120.00\n", "data/invoices/März 50% off.pdf": "%PDF a discount\n", "data/private.txt": canary,
	} {
		path := filepath.Join(s.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		s.write(name, content)
	}
	if err := os.Symlink("../private.txt", filepath.Join(s.dir, "data/invoices/out.txt")); err != nil {
		t.Fatal(err)
	}
	s.begin(s.caddyfile(s.startDjango()))
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	s.client = &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return s
}

// caddyfile is the example's with the test's addresses and folders.
func (s *shop) caddyfile(django string) string {
	text, err := os.ReadFile(filepath.Join(realtest.ProjectRoot(s.T), "examples/django/Caddyfile"))
	if err != nil {
		s.Fatal(err)
	}
	return strings.NewReplacer(
		"{$PWD}", s.dir, "http://localhost:8080", s.site, "127.0.0.1:8000", django, "\tbackup {\n", `	admin localhost:2999
	persist_config off
	skip_install_trust
	auto_https off
	grace_period 1ns
	storage file_system `+s.dir+`/store
	backup {
		repository {
			storage `+s.dir+`/repository
			password {file.`+s.dir+`/secret}
		}
`).Replace(string(text))
}

// startDjango makes the database with a user, and starts the application.
func (s *shop) startDjango() (address string) {
	s.Helper()
	python := realtest.Django(s.T)
	manage := func(args ...string) *exec.Cmd {
		cmd := exec.Command(python, append([]string{"-B", "manage.py"}, args...)...)
		cmd.Dir = filepath.Join(realtest.ProjectRoot(s.T), "examples/django")
		cmd.Env = append(os.Environ(), "SHOP_DATA="+filepath.Join(s.dir, "data"), "SHOP_SECRET=for tests",
			"DJANGO_SUPERUSER_PASSWORD=anna's password")
		return cmd
	}
	for _, cmd := range []*exec.Cmd{
		manage("migrate", "--verbosity=0"), manage("createsuperuser", "--noinput", "--username=anna", "--email=anna@example.com"),
	} {
		if out, err := cmd.CombinedOutput(); err != nil {
			s.Fatalf("%s: %v\n%s", cmd, err, out)
		}
	}
	address = freeAddress(s.T)
	server, log := manage("runserver", "--noreload", address), new(lockedBuffer)
	server.Stdout, server.Stderr = log, log
	if err := server.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		if s.Failed() {
			s.Logf("Django said:\n%s", log.String())
		}
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return address
		}
		if time.Now().After(deadline) {
			s.Fatalf("Django does not start: %v\n%s", err, log.String())
		}
	}
}

func (s *shop) logIn() {
	s.Helper()
	page := s.site + "/admin/login/"
	s.ask("GET", page)
	form := url.Values{"username": {"anna"}, "password": {"anna's password"}, "csrfmiddlewaretoken": {s.cookie("csrftoken")}}
	resp, err := s.client.PostForm(page, form)
	if err != nil {
		s.Fatal(err)
	}
	if text := read(s.T, resp); resp.StatusCode != http.StatusFound || s.cookie("sessionid") == "" {
		s.Fatalf("logging in: %s\n%s", resp.Status, text)
	}
}

func (s *shop) cookie(name string) string {
	at, _ := url.Parse(s.site)
	for _, c := range s.client.Jar.Cookies(at) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// ask asks the site with headers in pairs. The headers between Django and Caddy, and what nobody may have, never come.
func (s *shop) ask(method, url string, headers ...string) (resp *http.Response, body string) {
	s.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	if resp, err = s.client.Do(req); err != nil {
		s.Fatal(err)
	}
	body = read(s.T, resp)
	s.wantSilent(resp, body)
	return resp, body
}

func (s *shop) wantSilent(resp *http.Response, body string) {
	s.Helper()
	for name := range resp.Header {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-accel") || strings.HasPrefix(lower, "x-sendfile") {
			s.Errorf("%s: the client gets %s", resp.Request.URL, name)
		}
	}
	if strings.Contains(body, canary) || strings.Contains(body, s.dir) {
		s.Errorf("%v shows what it must not: %s", resp, body)
	}
}

// TestDjango downloads the shop's newest backup, and files, through views of a real Django.
func TestDjango(t *testing.T) {
	s := newShop(t)
	dump := s.site + "/backups/db.sqlite3"
	if resp, _ := s.ask("GET", dump); resp.StatusCode != http.StatusFound || !strings.HasPrefix(resp.Header.Get("Location"), "/admin/login/") {
		t.Fatalf("who is not logged in gets %s", resp.Status)
	}
	s.logIn()
	if resp, body := s.ask("GET", dump); resp.StatusCode != http.StatusNotFound || body != "" {
		t.Errorf("before the first backup: %s %q", resp.Status, body)
	}
	run, err := admin.Backup(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	if run = finish(t, admin, run.ID); run.State != backup.StateOK {
		t.Fatalf("the backup is %s: %s", run.State, run.Error)
	}
	snapshot, err := admin.Snapshot(t.Context(), "", run.Snapshot, "")
	if err != nil {
		t.Fatal(err)
	}
	sum := snapshot.Manifest.Parts[0].SHA256
	t.Run("backup", func(t *testing.T) { s.in(t).backup(dump, sum) })
	t.Run("curl", func(t *testing.T) { s.in(t).curl(dump, sum) })
	t.Run("files", func(t *testing.T) { s.in(t).files() })
	t.Run("refused", func(t *testing.T) { s.in(t).refused() })
	t.Run("forged", func(t *testing.T) { s.in(t).forged() })
}

// in is the same shop in a part of the test.
func (s *shop) in(t *testing.T) *shop {
	sub, w := *s, *s.world
	w.T = t
	sub.world = &w
	return &sub
}

func (s *shop) backup(dump, sum string) {
	resp, whole := s.ask("GET", dump)
	etag := resp.Header.Get("ETag")
	if got := fmt.Sprintf("%x", sha256.Sum256([]byte(whole))); resp.StatusCode != http.StatusOK || got != sum || etag != `"cb-`+sum+`"` {
		s.Fatalf("%s, SHA-256 %s, ETag %s; want %s", resp.Status, got, etag, sum)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/vnd.sqlite3", "Content-Disposition": `attachment; filename="shop.sqlite3"`,
		"Set-Cookie": "had_backup=anna; Path=/", "Accept-Ranges": "bytes", "Last-Modified": "",
	} {
		if got := resp.Header.Get(name); got != want {
			s.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for _, c := range []struct {
		method  string
		headers []string
		status  int
		body    string
	}{
		{"HEAD", nil, 200, ""},
		{"GET", []string{"If-None-Match", etag}, 304, ""},
		{"GET", []string{"If-None-Match", `"other"`}, 200, whole},
		{"GET", []string{"Range", "bytes=100-199"}, 206, whole[100:200]},
		{"GET", []string{"Range", "bytes=100-199", "If-Range", etag}, 206, whole[100:200]},
		{"GET", []string{"Range", "bytes=100-199", "If-Range", `"other"`}, 200, whole},
		{"GET", []string{"Range", "bytes=99999999-"}, 416, ""},
		{"POST", []string{"X-CSRFToken", s.cookie("csrftoken")}, 200, whole},
		{"POST", []string{"X-CSRFToken", "another"}, 403, "-"},
	} {
		resp, body := s.ask(c.method, dump, c.headers...)
		if resp.StatusCode != c.status || c.body != "-" && body != c.body {
			s.Errorf("%s %q: %s, %d bytes", c.method, c.headers, resp.Status, len(body))
		}
		if c.status < 400 && resp.Header.Get("Set-Cookie") == "" {
			s.Errorf("%s %q: the view's cookie does not arrive: %v", c.method, c.headers, resp.Header)
		}
	}
}

// curl goes on with a download that was cut anywhere.
func (s *shop) curl(dump, sum string) {
	curl := realtest.Need(s.T, "curl")
	_, whole := s.ask("GET", dump)
	for _, cut := range []int{1, len(whole) / 3, len(whole) - 1} {
		s.write("resumed", whole[:cut])
		cmd := exec.Command(curl, "-sSf", "--noproxy", "*", "-C", "-", "-o", filepath.Join(s.dir, "resumed"), "-b", "sessionid="+s.cookie("sessionid"), dump)
		if out, err := cmd.CombinedOutput(); err != nil {
			s.Fatalf("curl: %v\n%s", err, out)
		}
		data, err := os.ReadFile(filepath.Join(s.dir, "resumed"))
		if got := fmt.Sprintf("%x", sha256.Sum256(data)); err != nil || got != sum {
			s.Errorf("cut at %d: %d bytes, SHA-256 %s, %v", cut, len(data), got, err)
		}
	}
}

func (s *shop) files() {
	for path, want := range map[string]struct{ media, body string }{
		"/invoices/1.txt":                        {"text/plain; charset=utf-8", "one table, 120.00\n"},
		"/sendfile/1.txt":                        {"text/plain; charset=utf-8", "one table, 120.00\n"},
		"/invoices/M%C3%A4rz%2050%25%20off.pdf":  {"application/pdf", "%PDF a discount\n"},
		"/sendfile/M%C3%A4rz%2050%25%20off.pdf":  {"application/pdf", "%PDF a discount\n"},
		"/invoices/%31.txt?download=1&next=/../": {"text/plain; charset=utf-8", "one table, 120.00\n"},
	} {
		resp, body := s.ask("GET", s.site+path)
		if resp.StatusCode != 200 || body != want.body || resp.Header.Get("Content-Type") != want.media {
			s.Errorf("%s: %s %q %v", path, resp.Status, body, resp.Header)
			continue
		}
		modified := resp.Header.Get("Last-Modified")
		if again, _ := s.ask("GET", s.site+path, "If-None-Match", resp.Header.Get("ETag")); again.StatusCode != 304 {
			s.Errorf("%s again: %s", path, again.Status)
		}
		if part, text := s.ask("GET", s.site+path, "Range", "bytes=0-3", "If-Range", modified); part.StatusCode != 206 || text != want.body[:4] {
			s.Errorf("a part of %s: %s %q", path, part.Status, text)
		}
	}
}

// refused asks for what the views would hand over and Caddy does not.
func (s *shop) refused() {
	for _, below := range []string{"/invoices/", "/sendfile/"} {
		for _, name := range []string{
			"out.txt", "nosuch.txt", "../private.txt", "..%2fprivate.txt", "%2e%2e/private.txt", "%2e%2e%2fprivate.txt", "%252e%252e/private.txt",
			"x/../../private.txt", "x%2f..%2f..%2fprivate.txt", "..\\private.txt", "..%5cprivate.txt", "/private.txt", "//private.txt", "%2fetc/passwd",
			"1.txt%00", "1.txt%00.pdf", "1.txt/", "%2e/1.txt", "./private.txt", "", "%2e%2e/db.sqlite3", "%0a", "1.txt%0d%0aX-Accel-Redirect:%20/",
		} {
			s.raw(below + name)
		}
	}
	for _, path := range []string{
		"/backups/../../other/latest/x", "/backups/%2e%2e/%2e%2e/other/latest/x", "/backups/nosuch", "/backups/..%2f..%2fshop",
		"/_protected/1.txt", "/_protected/../private.txt", "/_backups/shop/latest/db.sqlite3", "/_backups/", "//_protected/1.txt",
	} {
		s.raw(path)
	}
}

// raw sends a request line as it is: clients and servers alike would tidy the path up. Nothing is answered with 200.
func (s *shop) raw(path string) {
	s.Helper()
	address := strings.TrimPrefix(s.site, "http://")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		s.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nCookie: sessionid=%s\r\nConnection: close\r\n\r\n", path, address, s.cookie("sessionid"))
	req, _ := http.NewRequest("GET", s.site, nil)
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		s.Fatalf("%s: %v", path, err)
	}
	body := read(s.T, resp)
	s.wantSilent(resp, body)
	if resp.StatusCode < 300 || strings.Contains(body, "120.00") {
		s.Errorf("%s: %s %q", path, resp.Status, body)
	}
}

// forged sends what only Django may say.
func (s *shop) forged() {
	anonymous := *s
	anonymous.client = &http.Client{CheckRedirect: s.client.CheckRedirect}
	for _, name := range []string{"X-Accel-Redirect", "x-sendfile", "X_Accel_Redirect", "X-Accel-Mapping", "X-Sendfile-Type"} {
		for _, path := range []string{"/", "/invoices/1.txt", "/backups/db.sqlite3", "/nosuch"} {
			resp, body := anonymous.ask("GET", s.site+path, name, "/_protected/1.txt")
			if resp.StatusCode == 200 || strings.Contains(body, "120.00") {
				s.Errorf("%s with %s: %s %q", path, name, resp.Status, body)
			}
		}
	}
	resp, body := s.ask("GET", s.site+"/", "X-Accel-Redirect", "/_protected/1.txt")
	if resp.StatusCode != 200 || !strings.Contains(body, "<form") {
		s.Errorf("the page: %s %q", resp.Status, body)
	}
}
