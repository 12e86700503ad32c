package handler

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/repo"
)

// noise is n bytes that do not compress, as text.
func noise(n int) string {
	r := rand.NewChaCha8([32]byte{1})
	b := make([]byte, n)
	_, _ = r.Read(b)
	return base64.StdEncoding.EncodeToString(b)[:n]
}

// downloads is a snapshot with a file of 3 MB, and where to get it.
func downloads(t *testing.T) (env *backuptest.Env, data, address string) {
	t.Helper()
	env = newEnv(t)
	data = noise(3 << 20)
	env.DB.Set(data)
	snap := env.Backed(t, "shop")
	return env, data, mustSite(t, env.Service, "").URL + "/api/snapshots/" + snap.ID + "/files/shop/"
}

func TestDownload(t *testing.T) {
	_, data, address := downloads(t)
	whole := get(t, "otto", address+"db.sql")
	sum := sha256.Sum256([]byte(data))
	h := whole.header
	if whole.status != 200 || whole.body != data {
		t.Fatalf("status %d, %d bytes", whole.status, len(whole.body))
	}
	for name, want := range map[string]string{
		"Content-Type":            "application/sql",
		"Content-Length":          fmt.Sprint(len(data)),
		"Etag":                    fmt.Sprintf(`"cb-%x"`, sum),
		"Repr-Digest":             "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":",
		"Accept-Ranges":           "bytes",
		"Cache-Control":           "private, no-cache, no-transform",
		"X-Content-Type-Options":  "nosniff",
		"Content-Security-Policy": "default-src 'none'; sandbox",
		"Last-Modified":           "",
	} {
		if h.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, h.Get(name), want)
		}
	}
	kind, params, err := mime.ParseMediaType(h.Get("Content-Disposition"))
	if err != nil || kind != "attachment" || !strings.HasPrefix(params["filename"], "shop_2") || !strings.HasSuffix(params["filename"], "Z.db.sql") {
		t.Errorf("disposition %q: %v", h.Get("Content-Disposition"), err)
	}
	head := as(t, "otto", http.MethodHead, address+"db.sql", "")
	if head.status != 200 || head.body != "" || head.header.Get("Content-Length") != fmt.Sprint(len(data)) {
		t.Errorf("HEAD: %d %v", head.status, head.header)
	}
	if page := get(t, "otto", strings.Replace(address, "/api/", "/", 1)+"db.sql"); page.body != data {
		t.Errorf("below the pages: status %d, %d bytes", page.status, len(page.body))
	}
}

func TestDownloadRanges(t *testing.T) {
	_, data, address := downloads(t)
	etag := get(t, "otto", address+"db.sql").header.Get("ETag")
	n := len(data)
	for _, c := range []struct {
		headers []string
		status  int
		body    string
	}{
		{[]string{"Range", "bytes=0-99"}, 206, data[:100]},
		{[]string{"Range", "bytes=1500000-2500000"}, 206, data[1500000:2500001]},
		{[]string{"Range", "bytes=-7"}, 206, data[n-7:]},
		{[]string{"Range", fmt.Sprintf("bytes=%d-", n-1)}, 206, data[n-1:]},
		{[]string{"Range", "bytes=0-99", "If-Range", etag}, 206, data[:100]},
		{[]string{"Range", "bytes=0-99", "If-Range", `"other"`}, 200, data},
		{[]string{"Range", "bytes=0-99", "If-Range", "W/" + etag}, 200, data},
		{[]string{"Range", "bytes=0-99", "If-Range", "Sat, 21 Nov 2026 22:00:00 GMT"}, 200, data},
		{[]string{"If-None-Match", etag}, 304, ""},
		{[]string{"If-None-Match", `"other", ` + etag}, 304, ""},
		{[]string{"If-None-Match", `"other"`}, 200, data},
		{[]string{"If-Match", `"other"`}, 412, ""},
		{[]string{"If-Modified-Since", "Sat, 21 Nov 2099 22:00:00 GMT"}, 200, data},
		{[]string{"Range", "bytes=" + strings.Repeat("0-9,", maxRanges) + "0-9"}, 200, data},
	} {
		a := get(t, "otto", address+"db.sql", c.headers...)
		if a.status != c.status || a.body != c.body {
			t.Errorf("%q: status %d, %d bytes", c.headers, a.status, len(a.body))
		}
	}
	if a := get(t, "otto", address+"db.sql", "Range", fmt.Sprintf("bytes=%d-", n)); a.status != 416 || a.code() != "range_not_satisfiable" ||
		a.header.Get("Content-Range") != fmt.Sprintf("bytes */%d", n) || a.header.Get("Content-Disposition") != "" {
		t.Errorf("beyond the end: %d %v %s", a.status, a.header, a.body)
	}
	several := get(t, "otto", address+"db.sql", "Range", "bytes=0-9,2000000-2000009,-10")
	_, params, err := mime.ParseMediaType(several.header.Get("Content-Type"))
	if err != nil || several.status != 206 {
		t.Fatalf("several ranges: %d %v", several.status, several.header)
	}
	parts := multipart.NewReader(strings.NewReader(several.body), params["boundary"])
	for _, want := range []string{data[:10], data[2000000:2000010], data[n-10:]} {
		part, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(part); string(got) != want || err != nil {
			t.Errorf("a part of several: %q, %v", got, err)
		}
	}
}

func TestDownloadOfHardNames(t *testing.T) {
	_, _, address := downloads(t)
	a := get(t, "otto", address+"media/a/"+url.PathEscape(evilFile))
	if a.status != 200 || a.body != "hard to name" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	_, params, err := mime.ParseMediaType(a.header.Get("Content-Disposition"))
	if err != nil || params["filename"] != evilFile {
		t.Errorf("disposition %q: %q, %v", a.header.Get("Content-Disposition"), params["filename"], err)
	}
	if a := get(t, "otto", address+"media/logo.svg"); a.header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("a picture with a script: %v", a.header)
	}
	for path, code := range map[string]string{"": "is_folder", "media": "is_folder", "nosuch": "not_found", "db.sql/x": "not_folder", "db.sql/": "not_found", "media/": "is_folder"} {
		if a := get(t, "otto", address+path); a.code() != code || a.header.Get("Content-Disposition") != "" {
			t.Errorf("%q: %d %s", path, a.status, a.body)
		}
	}
}

func TestDisposition(t *testing.T) {
	for name, want := range map[string]string{
		"shop_2026.sql": `attachment; filename="shop_2026.sql"`,
		"a b'c.txt":     `attachment; filename="a b'c.txt"`,
		`a"b\c`:         `attachment; filename="a_b_c"; filename*=UTF-8''a%22b%5Cc`,
		"größe.txt":     `attachment; filename="gr__e.txt"; filename*=UTF-8''gr%C3%B6%C3%9Fe.txt`,
		"50%41.txt":     `attachment; filename="50_41.txt"; filename*=UTF-8''50%2541.txt`,
		"a\r\nb":        `attachment; filename="a__b"; filename*=UTF-8''a%0D%0Ab`,
		"../etc/passwd": `attachment; filename=".._etc_passwd"`,
		"bad\xffbyte":   `attachment; filename="bad_byte"; filename*=UTF-8''bad%EF%BF%BDbyte`,
		"a+b é":         `attachment; filename="a+b _"; filename*=UTF-8''a%2Bb%20%C3%A9`,
	} {
		if got := attachment(name); got != want {
			t.Errorf("%q: %s\nwant %s", name, got, want)
		}
	}
}

// Whatever a file is called, the header is one line that browsers read back as that name.
func FuzzDisposition(f *testing.F) {
	for _, name := range []string{"shop.sql", evilFile, "a\r\nSet-Cookie: x", "\xff", `"\`, "%00", "☃/☃", ""} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		header := attachment(name)
		if strings.ContainsFunc(header, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Fatalf("%q: %q is not plain", name, header)
		}
		want := strings.ToValidUTF8(strings.ReplaceAll(name, "/", "_"), "\uFFFD")
		if kind, params, err := mime.ParseMediaType(header); err != nil || kind != "attachment" || params["filename"] != want {
			t.Fatalf("%q: %q is read as %q %q, %v", name, header, kind, params["filename"], err)
		}
	})
}

// withoutLength takes the Content-Length away, as a handler does that compresses answers.
type withoutLength struct{ http.ResponseWriter }

func (w withoutLength) WriteHeader(status int) {
	w.Header().Del("Content-Length")
	w.ResponseWriter.WriteHeader(status)
}

func (w withoutLength) Write(p []byte) (int, error) {
	w.Header().Del("Content-Length")
	return w.ResponseWriter.Write(p)
}

// A byte that went bad in the repository: at the beginning of the file it is answered with an error; further on, what
// comes before it is right, and then the connection breaks. It never ends as if that had been all.
func TestDamageBreaksTheConnection(t *testing.T) {
	env := newEnv(t)
	data := noise(6 << 20)
	env.DB.Set(data)
	env.Backed(t, "shop")
	api := adminAPI(env.Service)
	api.Logger = backuptest.Logger(t)
	for name, h := range map[string]http.Handler{
		"with length":    api,
		"without length": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { api.ServeHTTP(withoutLength{w}, r) }),
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewUnstartedServer(h)
			server.Config.ErrorLog = nil
			server.Start()
			defer server.Close()
			within := 0.0 // a place that is not the beginning
			for _, c := range []*Client{
				{Base: server.URL + "/", HTTP: server.Client()},
				{Base: "http://in-process/", HTTP: &http.Client{Transport: InProcess(h)}},
			} {
				answered, broken := 0, 0
				for at := 0.02; at < 1 && (answered == 0 || broken == 0); at += 0.04 { // chunks lie in a pack in any order
					repair := damageLargestPack(t, env, at)
					if opensDamaged(t, c, data) {
						broken++
						within = at
					} else {
						answered++
					}
					repair()
				}
				if answered == 0 || broken == 0 {
					t.Errorf("%s: %d times an answer, %d times a broken connection", c.Base, answered, broken)
				}
			}
			defer damageLargestPack(t, env, within)()
			req, _ := http.NewRequest("GET", server.URL+"/snapshots/latest/files/shop/db.sql", nil)
			req.Header.Set("Range", "bytes=0-9,100-")
			if resp, err := server.Client().Do(req); err == nil {
				if _, err := io.ReadAll(resp.Body); err == nil && resp.StatusCode != 503 { // as when the first range is damaged
					t.Errorf("several ranges: no error, but %s", resp.Status)
				}
				resp.Body.Close()
			}
			if head, err := server.Client().Head(req.URL.String()); err != nil || head.StatusCode != 200 {
				t.Errorf("HEAD reads nothing: %v %v", head, err)
			}
		})
	}
}

// opensDamaged reads a file of which something is damaged, and reports whether that began well.
func opensDamaged(t *testing.T, c *Client, data string) bool {
	t.Helper()
	r, _, err := c.Open(t.Context(), "", "latest", "db.sql")
	if err != nil {
		if e, ok := errors.AsType[*Error](err); !ok || e.Status != 503 || !errors.Is(err, repo.ErrDamaged) {
			t.Errorf("%s: %v is not the answer of damage", c.Base, err)
		}
		return false
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err == nil || len(got) >= len(data) || !strings.HasPrefix(data, string(got)) {
		t.Errorf("%s: %d bytes of %d, error %v", c.Base, len(got), len(data), err)
	}
	if err != nil && !strings.Contains(err.Error(), "caddy backup check --read-data") {
		t.Errorf("%s: no way out: %v", c.Base, err)
	}
	return true
}

// damageLargestPack flips a bit in the pack that holds the data, at a part of its length, and one 8 KiB further on: between the
// chunks of the data may lie the little that else is in the snapshot, in any order, and one of both is not there.
func damageLargestPack(t *testing.T, env *backuptest.Env, at float64) (repair func()) {
	t.Helper()
	var name string
	var size int64
	for f, err := range env.Storage.List(t.Context(), "data") {
		if err != nil {
			t.Fatal(err)
		}
		if f.Size > size {
			name, size = f.Name, f.Size
		}
	}
	whole, err := env.Storage.Get(t.Context(), name, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	put := func(pack []byte) {
		t.Helper()
		if err := env.Storage.Put(t.Context(), name, pack); err != nil {
			t.Fatal(err)
		}
	}
	whole = slices.Clone(whole)
	pack := slices.Clone(whole)
	first := int(float64(len(pack)) * at)
	pack[first] ^= 1
	pack[min(first+8<<10, len(pack)*99/100)] ^= 1
	put(pack)
	return func() { put(whole) }
}

// fakeFile reads from a reader and knows no seeking.
type fakeFile struct {
	io.Reader
	closed bool
}

func (f *fakeFile) Seek(int64, int) (int64, error) { return 0, nil }
func (f *fakeFile) Close() error                   { f.closed = true; return nil }

func TestWatchedFileRemembersItsError(t *testing.T) {
	f := &watched{file: &fakeFile{Reader: iotest.ErrReader(io.ErrNoProgress)}}
	if _, err := f.Read(make([]byte, 1)); err != io.ErrNoProgress || f.failed() != err {
		t.Errorf("read: %v, remembered %v", err, f.failed())
	}
	fine := &watched{file: &fakeFile{Reader: strings.NewReader("x")}}
	if _, err := io.ReadAll(fine); err != nil || fine.failed() != nil {
		t.Errorf("the end is no error: %v %v", err, fine.failed())
	}
	fine.close()
	if _, err := fine.Read(nil); err == nil {
		t.Error("read after close")
	}
	if _, err := fine.Seek(0, 0); err == nil {
		t.Error("seek after close")
	}
}

// TestDownloadFormatOfAJob: the page's links lead to the form that the job chose, and to the others; the API gives what it is
// asked for, and the file as it is when nothing is said.
func TestDownloadFormatOfAJob(t *testing.T) {
	env := newEnv(t, func(c *backup.Config) { c.Jobs[0].DownloadFormat = "gz" })
	env.DB.Set("create table customer;\n")
	snap := env.Backed(t, "shop")
	server := mustSite(t, env.Service, "")
	file := "/snapshots/" + snap.ID + "/files/shop/db.sql"
	for _, page := range []string{"/snapshots/" + snap.ID, "/jobs/shop"} {
		if a := get(t, "otto", server.URL+page); !strings.Contains(a.body, file+`?format=gz" download>`) || !strings.Contains(a.body, "db.sql.gz</span>") {
			t.Errorf("%s has no link to the gz:\n%s", page, a.body)
		}
	}
	if a := get(t, "otto", server.URL+"/snapshots/"+snap.ID); !strings.Contains(a.body, file+"?format=raw") || strings.Count(a.body, file+"?format=gz") != 1 {
		t.Errorf("the other forms are not there:\n%s", a.body)
	}
	if a := get(t, "otto", server.URL+"/api"+file); a.body != "create table customer;\n" {
		t.Errorf("%d bytes", len(a.body))
	}
	if _, params, err := mime.ParseMediaType(get(t, "otto", server.URL+file+"?format=gz").header.Get("Content-Disposition")); err != nil || !strings.HasSuffix(params["filename"], "Z.db.sql.gz") {
		t.Errorf("%v %v", params, err)
	}
}
