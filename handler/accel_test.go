package handler

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// accelWorld is a site with backup_accel before an application that does as told.
type accelWorld struct {
	*testing.T
	env    *backuptest.Env
	root   string // of plain files
	outer  string // the folder around it, with a file "secret"
	dump   string // content of the newest good snapshot's part db.sql
	server *httptest.Server
	log    func() string
	app    http.HandlerFunc // the application
	later  time.Duration    // how far the clock goes ahead
}

// secret must reach no client.
const secret = "secret-5d21"

func newAccel(t *testing.T) *accelWorld {
	t.Helper()
	w := &accelWorld{T: t, env: newEnv(t, withEvilJob), outer: t.TempDir(), dump: noise(300 << 10)}
	w.root = filepath.Join(w.outer, "files")
	w.env.DB.Set(w.dump)
	w.env.Backed(t, "shop")
	w.env.Backed(t, evilJob)
	w.file("secret", secret)
	w.file("files/plain.txt", "plain text")
	w.file("files/a/ü 100%.bin", "hard to name")
	w.link(filepath.Join(w.outer, "secret"), "files/out")
	w.link(w.outer, "files/up")
	w.link("plain.txt", "files/in")
	config := fmt.Sprintf(`{"snapshots": [{"prefix": "/_backups/", "jobs": ["shop"]}],
		"files": [{"prefix": "/_protected/", "root": %q}], "sendfile_roots": [%[1]q]}`, w.root)
	module, log, err := provisionModule(t, w.env.Service, "http.handlers.backup_accel", config)
	if err != nil {
		t.Fatal(err)
	}
	w.log = log
	module.(*Accel).now = func() time.Time { return time.Now().Add(w.later) }
	w.server = httptest.NewServer(serveAccel(module.(*Accel), func(rw http.ResponseWriter, r *http.Request) error {
		w.app(rw, r)
		return nil
	}))
	t.Cleanup(w.server.Close)
	return w
}

// serveAccel serves a handler as Caddy does: an error becomes an answer with its status.
func serveAccel(a *Accel, next caddyhttp.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, &caddyhttp.Server{})
		if err := a.ServeHTTP(w, r, next); err != nil {
			status := http.StatusInternalServerError
			if e, ok := errors.AsType[caddyhttp.HandlerError](err); ok {
				status = e.StatusCode
			}
			w.WriteHeader(status)
		}
	})
}

func (w *accelWorld) file(name, content string) {
	w.Helper()
	path := filepath.Join(w.outer, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
		w.Fatal(err)
	}
}

// changed is when the system saw a file change.
func (w *accelWorld) changed(name string) time.Time {
	w.Helper()
	fi, err := os.Stat(filepath.Join(w.outer, name))
	if err != nil {
		w.Fatal(err)
	}
	at, _ := inode(fi)
	return at
}

func (w *accelWorld) link(to, name string) {
	w.Helper()
	if err := os.Symlink(to, filepath.Join(w.outer, name)); err != nil {
		w.Fatal(err)
	}
}

// answers has the application answer with a status, headers in pairs, and a body that must reach nobody who gets a file.
func (w *accelWorld) answers(status int, headers ...string) {
	w.app = func(rw http.ResponseWriter, r *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			rw.Header().Add(headers[i], headers[i+1])
		}
		rw.WriteHeader(status)
		if status != 304 {
			fmt.Fprint(rw, "the application's own body")
		}
	}
}

func (w *accelWorld) ask(method string, headers ...string) answer {
	w.Helper()
	a := as(w.T, "", method, w.server.URL+"/download?x=1", "", headers...)
	for name := range a.header {
		if isAccel(name) {
			w.Errorf("the client gets the header %s", name)
		}
	}
	return a
}

// noLeaks returns what finds the goroutines that began since and have not ended, but for the one that Caddy gives to the
// test's log file.
func noLeaks(t *testing.T) func() {
	before := goleak.IgnoreCurrent()
	return func() {
		t.Helper()
		if err := realtest.Leaks(before, goleak.IgnoreAnyFunction("github.com/DeRuina/timberjack.(*Logger).millRun")); err != nil {
			t.Error(err)
		}
	}
}

func TestAccelSnapshot(t *testing.T) {
	defer noLeaks(t)()
	w := newAccel(t)
	defer w.server.Close()
	latest := w.env.Backed(t, "shop")
	w.answers(200, "X-Accel-Redirect", "/_backups/shop/latest/db.sql?token=x", "X-Accel-Buffering", "no", "X-Accel-Expires", "0",
		"X-Accel-Charset", "utf-8", "X-Accel-Limit-Rate", "1", "X-Sendfile", "/nowhere",
		"Set-Cookie", "a=1", "Set-Cookie", "b=2", "Content-Type", "application/x-dump", "Content-Disposition", "attachment; filename=mine",
		"Vary", "Cookie", "ETag", `"theirs"`, "Last-Modified", "Sat, 21 Nov 2026 22:00:00 GMT", "Content-Encoding", "gzip",
		"Accept-Ranges", "none", "Content-Range", "bytes 0-1/2", "Content-Length", "26")
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(w.dump)))
	etag := `"cb-` + sum + `"`
	a := w.ask("GET")
	if a.status != 200 || a.body != w.dump {
		t.Fatalf("%d, %d bytes", a.status, len(a.body))
	}
	for name, want := range map[string]string{
		"Content-Type": "application/x-dump", "Content-Disposition": "attachment; filename=mine", "Vary": "Cookie", "Etag": etag,
		"Accept-Ranges": "bytes", "Content-Length": fmt.Sprint(len(w.dump)), "Content-Encoding": "", "Content-Range": "",
		"Last-Modified": "", "Cache-Control": "private, no-cache, no-transform", "X-Content-Type-Options": "nosniff",
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := a.header.Values("Set-Cookie"); len(got) != 2 || got[1] != "b=2" {
		t.Errorf("cookies %q", got)
	}
	for _, c := range []struct {
		method  string
		headers []string
		status  int
		body    string
	}{
		{"GET", []string{"Range", "bytes=5-9"}, 206, w.dump[5:10]},
		{"GET", []string{"Range", "bytes=100-", "If-Range", etag}, 206, w.dump[100:]},
		{"GET", []string{"Range", "bytes=100-", "If-Range", `"cb-other"`}, 200, w.dump},
		{"GET", []string{"Range", "bytes=100-", "If-Range", `"theirs"`}, 200, w.dump},
		{"GET", []string{"Range", "bytes=400000-"}, 416, ""},
		{"GET", []string{"If-None-Match", etag}, 304, ""},
		{"GET", []string{"If-None-Match", `"theirs", ` + etag}, 304, ""},
		{"GET", []string{"If-None-Match", `"theirs"`}, 200, w.dump},
		{"GET", []string{"If-Match", `"theirs"`}, 412, ""},
		{"HEAD", nil, 200, ""},
		{"HEAD", []string{"If-None-Match", etag}, 304, ""},
		{"POST", []string{"Range", "bytes=5-9", "If-None-Match", etag}, 200, w.dump},
		{"PUT", nil, 200, w.dump},
	} {
		if a := w.ask(c.method, c.headers...); a.status != c.status || a.body != c.body || a.header.Get("Set-Cookie") != "a=1" {
			t.Errorf("%s %q: %d, %d bytes, %v", c.method, c.headers, a.status, len(a.body), a.header)
		}
	}
	w.answers(200, "X-Accel-Redirect", "/_backups/shop/"+latest.ID+"/media/a/"+strings.ReplaceAll(strings.ReplaceAll(evilFile, "%", "%25"), "?", "%3F"))
	if a := w.ask("GET"); a.status != 200 || a.body != "hard to name" || !strings.HasPrefix(a.header.Get("Content-Disposition"), "attachment; ") {
		t.Errorf("a file of a folder: %d %q %v", a.status, a.body, a.header)
	}
}

// Who takes zstd gets it as it is stored.
func TestAccelZstd(t *testing.T) {
	w := newAccel(t)
	w.answers(200, "X-Accel-Redirect", "/_backups/shop/latest/db.sql", "Content-Encoding", "gzip")
	a := w.ask("GET", "Accept-Encoding", "zstd, gzip")
	decoder, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer decoder.Close()
	data, err := decoder.DecodeAll([]byte(a.body), nil)
	etag := a.header.Get("ETag")
	if err != nil || string(data) != w.dump || a.header.Get("Content-Encoding") != "zstd" || !strings.HasSuffix(etag, `.zst"`) {
		t.Fatalf("%d %v %v", a.status, a.header, err)
	}
	if a := w.ask("GET", "Accept-Encoding", "zstd", "If-None-Match", etag); a.status != 304 {
		t.Errorf("again: %d", a.status)
	}
	if a := w.ask("GET", "Accept-Encoding", "zstd", "If-Range", etag, "Range", "bytes=5-"); a.status != 200 || a.body != w.dump {
		t.Errorf("resumed: %d, %d bytes", a.status, len(a.body))
	}
}

// What an application says of ranges and caches is about its own body; success is all that matters. A failure or a
// redirect passes as it is, without the header.
func TestAccelStatuses(t *testing.T) {
	w := newAccel(t)
	for _, status := range []int{200, 201, 202, 206, 226, 304} {
		w.answers(status, "X-Accel-Redirect", "/_protected/plain.txt")
		if a := w.ask("GET"); a.status != 200 || a.body != "plain text" {
			t.Errorf("%d becomes %d %q", status, a.status, a.body)
		}
	}
	for _, status := range []int{301, 302, 303, 400, 401, 403, 404, 500, 503} {
		w.answers(status, "X-Accel-Redirect", "/_protected/plain.txt", "Location", "/login", "X-Sendfile", w.root+"/plain.txt")
		if a := w.ask("GET"); a.status != status || a.body != "the application's own body" {
			t.Errorf("%d becomes %d %q", status, a.status, a.body)
		}
	}
	w.app = func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("X-Accel-Redirect", "/_protected/plain.txt")
	}
	if a := w.ask("GET"); a.status != 200 || a.body != "plain text" {
		t.Errorf("without a status: %d %q", a.status, a.body)
	}
	w.answers(200, "X-Accel-Buffering", "no", "x-accel-expires", "0", "ETag", `"theirs"`)
	if a := w.ask("GET"); a.status != 200 || a.body != "the application's own body" || a.header.Get("ETag") != `"theirs"` {
		t.Errorf("without a file: %d %q %v", a.status, a.body, a.header)
	}
}

func TestAccelPlain(t *testing.T) {
	w := newAccel(t)
	old := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if err := os.Chtimes(filepath.Join(w.root, "plain.txt"), old, old); err != nil {
		t.Fatal(err)
	}
	w.later = time.Hour
	for _, headers := range [][]string{
		{"X-Accel-Redirect", "/_protected/plain.txt"},
		{"X-Accel-Redirect", "/_protected/plain%2etxt?a=/../b"},
		{"X-Accel-Redirect", "/_protected/in"},
		{"X-Sendfile", w.root + "/plain.txt"},
		{"X-Sendfile", w.root + "/plain%2Etxt"},
	} {
		w.answers(200, headers...)
		if a := w.ask("GET"); a.status != 200 || a.body != "plain text" || a.header.Get("Content-Disposition") != "" ||
			a.header.Get("Last-Modified") != "Fri, 02 Jan 2026 03:04:05 GMT" {
			t.Errorf("%q: %d %q %v", headers, a.status, a.body, a.header)
		}
	}
	etag := w.ask("GET").header.Get("ETag")
	for _, c := range []struct {
		headers []string
		status  int
	}{
		{[]string{"If-None-Match", etag}, 304},
		{[]string{"If-Modified-Since", "Fri, 02 Jan 2026 03:04:05 GMT"}, 304},
		{[]string{"Range", "bytes=6-", "If-Range", etag}, 206},
		{[]string{"Range", "bytes=6-", "If-Range", "Fri, 02 Jan 2026 03:04:05 GMT"}, 206},
		{[]string{"Range", "bytes=6-", "If-Range", "Fri, 02 Jan 2026 03:04:06 GMT"}, 200},
	} {
		if a := w.ask("GET", c.headers...); a.status != c.status || a.header.Get("ETag") != etag {
			t.Errorf("%q: %d %v", c.headers, a.status, a.header)
		}
	}
	before := w.changed("files/plain.txt")
	for tries := 0; tries < 10_000 && w.changed("files/plain.txt").Equal(before); tries++ { // within one tick of the kernel's clock
		w.file("files/plain.txt", "PLAIN TEXT") // as long, and given the old time
		if err := os.Chtimes(filepath.Join(w.root, "plain.txt"), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if a := w.ask("GET", "Range", "bytes=6-", "If-Range", etag); a.status != 200 || a.body != "PLAIN TEXT" {
		t.Errorf("another content: %d %q", a.status, a.body)
	}
	w.later = 0
	w.answers(200, "X-Accel-Redirect", "/_protected/a/%C3%BC%20100%25.bin", "Cache-Control", "max-age=60")
	a := w.ask("GET")
	if a.body != "hard to name" || a.header.Get("Content-Type") != "application/octet-stream" ||
		a.header.Get("Cache-Control") != "max-age=60, no-transform" {
		t.Errorf("%d %q %v", a.status, a.body, a.header)
	}
	if !strings.HasPrefix(a.header.Get("ETag"), `W/"cb-`) {
		t.Errorf("a file that was changed just now: %v", a.header)
	}
	if a := w.ask("GET", "Range", "bytes=0-3", "If-Range", a.header.Get("ETag")); a.status != 200 {
		t.Errorf("such a file is resumed: %d", a.status)
	}
}

// Everything here names what it must not, and gets nothing: neither a byte of it nor of the application's own body, nor a
// word of why, which is in the log.
func TestAccelRefuses(t *testing.T) {
	w := newAccel(t)
	snap := w.env.Backed(t, evilJob)
	if err := os.Mkdir(filepath.Join(w.root, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	var redirects = []string{
		"", "/", "?", "%", "@named", "plain.txt", "http://127.0.0.1/_protected/plain.txt", "//127.0.0.1/_protected/plain.txt",
		"/_protected", "/_protected/", "/_protected/nosuch", "/_protected/folder", "/_protected/folder/", "/_protected/plain.txt/",
		"/_protected/plain.txt/x", "/_protected/../secret", "/_protected/a/../../secret", "/_protected/%2e%2e/secret",
		"/_protected/..%2fsecret", "/_protected/%2E%2E%2Fsecret", "/_protected/.%2e/secret", "/_protected/%252e%252e/secret",
		"/_protected//plain.txt", "//_protected/plain.txt", "/_protected/./plain.txt", "/_protected/a/%2e/plain.txt",
		"/_protected/plain.txt%00", "/_protected/plain.txt\x00.png", "/_protected/..\\secret", "/_protected/%5c..%5csecret",
		"/_protected/out", "/_protected/up/secret", "/_protected/" + w.outer + "/secret", w.outer + "/secret", w.root + "/plain.txt",
		"/_protected/a%2Fb", "/_protected/100%", "/_protected/%zz", "/_PROTECTED/plain.txt", "/_protectedplain.txt", "/_protected%2fplain.txt",
		"/_protected/" + strings.Repeat("a", 5000), "/_protected/" + strings.Repeat("a/", 3000) + "b",
		"/_other/plain.txt", "/_backups/", "/_backups/shop", "/_backups/shop/", "/_backups/shop/latest", "/_backups/shop/latest/",
		"/_backups/shop/latest/nosuch", "/_backups/shop/latest/media", "/_backups/shop/latest/db.sql/x", "/_backups/shop/nosuch/db.sql",
		"/_backups/shop//db.sql", "/_backups/shop/latest//db.sql", "/_backups/shop/latest/../../x", "/_backups/shop/latest/shop/db.sql",
		"/_backups/" + strings.ReplaceAll(evilJob, "%", "%25") + "/latest/x", "/_backups/shop/" + snap.ID + "/evil.sql",
		"/_backups/shop/" + snap.ID + "/db.sql", "/_backups/*/latest/db.sql", "/_backups/shop%2flatest%2fdb.sql",
	}
	sendfiles := []string{
		"", "/", "plain.txt", "./plain.txt", "../secret", w.outer, w.outer + "/secret", w.root, w.root + "/", w.root + "/../secret",
		w.root + "/%2e%2e/secret", w.root + "/..%2fsecret", w.root + "//plain.txt", w.root + "/out", w.root + "/up/secret",
		w.root + "x/plain.txt", w.root + "/plain.txt?x", w.root + "/plain.txt%00", "/etc/passwd", "/_protected/plain.txt", "/proc/self/environ",
		"/" + w.root + "/plain.txt", "file://" + w.root + "/plain.txt", w.root + "\\plain.txt", w.root + "/folder",
	}
	try := func(headers ...string) {
		t.Helper()
		before := strings.Count(w.log(), "the application named a file that cannot be sent")
		w.answers(200, append(headers, "Content-Disposition", "attachment", "Content-Type", "text/plain", "Set-Cookie", "a=1")...)
		a := w.ask("GET")
		if a.status != 404 || a.body != "" || a.header.Get("Set-Cookie") != "a=1" || a.header.Get("Content-Disposition") != "" ||
			a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%q: %d %q %v", headers, a.status, a.body, a.header)
		}
		if after := strings.Count(w.log(), "the application named a file that cannot be sent"); after != before+1 {
			t.Errorf("%q: %d lines in the log", headers, after-before)
		}
	}
	for _, value := range redirects {
		try("X-Accel-Redirect", value)
	}
	for _, value := range sendfiles {
		try("X-Sendfile", value)
	}
	try("X-Accel-Redirect", "/_protected/plain.txt", "X-Accel-Redirect", "/_protected/in")
	try("X-Accel-Redirect", "/_protected/nosuch?token="+secret, "X-Sendfile", w.root+"/plain.txt")
	if strings.Contains(w.log(), "x=1") || strings.Contains(w.log(), secret) {
		t.Errorf("the log shows queries:\n%s", w.log())
	}
}

// A file that should be there and cannot be read is a fault of the server.
func TestAccelFaults(t *testing.T) {
	w := newAccel(t)
	w.answers(200, "X-Accel-Redirect", "/_protected/plain.txt")
	if err := os.RemoveAll(w.root); err != nil {
		t.Fatal(err)
	}
	if a := w.ask("GET"); a.status != 500 || a.body != "" {
		t.Errorf("without the folder: %d %q", a.status, a.body)
	}
	w.answers(200, "X-Accel-Redirect", "/_backups/shop/latest/db.sql")
	repair := damageLargestPack(t, w.env, 0.3)
	if a := w.ask("GET"); a.status != 503 || a.body != "" {
		t.Errorf("damaged: %d %q", a.status, a.body)
	}
	repair()
	w.env.Detach()
	if a := w.ask("GET"); a.status != 503 || a.body != "" {
		t.Errorf("without a configuration: %d %q", a.status, a.body)
	}
	if strings.Contains(w.log(), "panic") {
		t.Error(w.log())
	}
}

// latest passes over suspect snapshots; one can still be had by its ID.
func TestAccelLatestIsGood(t *testing.T) {
	w := newAccel(t)
	good, err := w.env.Snapshot(t.Context(), "", "latest", "shop")
	if err != nil {
		t.Fatal(err)
	}
	w.env.DB.Set("newer")
	folder := w.env.Config.Jobs[0].Sources[1].Source.(backuptest.Folder)
	clear(folder)
	run := w.env.RunBackup(t, "shop")
	if run.State != "suspect" {
		t.Fatalf("the run is %s", run.State)
	}
	for id, want := range map[string]string{"latest": w.dump, good.ID: w.dump, run.Snapshot: "newer", run.Snapshot[:8]: "newer"} {
		w.answers(200, "X-Accel-Redirect", "/_backups/shop/"+id+"/db.sql")
		if a := w.ask("GET"); a.status != 200 || a.body != want {
			t.Errorf("%s: %d, %d bytes", id, a.status, len(a.body))
		}
	}
}
