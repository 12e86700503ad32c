package handler

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/storage/storagetest"
)

// unzstd decodes as an HTTP client does: no window above 8 MiB.
func unzstd(t testing.TB, data []byte) []byte {
	t.Helper()
	d, err := zstd.NewReader(nil, zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	plain, err := d.DecodeAll(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// through gives data to a program and returns what it makes of it.
func through(t testing.TB, data []byte, program string, args ...string) ([]byte, error) {
	t.Helper()
	cmd := exec.Command(realtest.Need(t, program), args...)
	cmd.Stdin = bytes.NewReader(data)
	return cmd.Output()
}

func TestFormatsOfFiles(t *testing.T) {
	_, data, address := downloads(t)
	seen := map[string]bool{}
	for format, want := range map[string]struct{ media, program string }{
		"gz": {"application/gzip", "gzip"}, "bz2": {"application/x-bzip2", "bzip2"}, "zst": {"application/zstd", "zstd"},
	} {
		if format == "bz2" && testing.Short() {
			continue // one thing after the other, and slow: no races to be found
		}
		at := address + "db.sql?format=" + format
		a := get(t, "otto", at, "Range", "bytes=0-9")
		if got, err := through(t, []byte(a.body), want.program, "-dc"); a.status != 200 || err != nil || string(got) != data {
			t.Errorf("%s: status %d, %d bytes of %d, %v", format, a.status, len(got), len(data), err)
		}
		_, params, err := mime.ParseMediaType(a.header.Get("Content-Disposition"))
		if err != nil || !strings.HasSuffix(params["filename"], "Z.db.sql."+format) {
			t.Errorf("%s: %q", format, a.header.Get("Content-Disposition"))
		}
		etag, length := a.header.Get("ETag"), a.header.Get("Content-Length")
		if a.header.Get("Content-Type") != want.media || a.header.Get("Accept-Ranges") != "none" || seen[etag] ||
			a.header.Get("Repr-Digest") != "" || a.header.Get("Content-Encoding") != "" || (length != "") != (format == "zst") {
			t.Errorf("%s: %v", format, a.header)
		}
		seen[etag] = true
		if again := get(t, "otto", at, "If-None-Match", etag); again.status != 304 || again.body != "" || again.header.Get("ETag") != etag {
			t.Errorf("%s again: %d %v", format, again.status, again.header)
		}
		if other := get(t, "otto", at, "If-Match", `"other"`); other.status != 412 {
			t.Errorf("%s: If-Match of another: %d", format, other.status)
		}
		if head := as(t, "otto", http.MethodHead, at, ""); head.status != 200 || head.body != "" || head.header.Get("ETag") != etag {
			t.Errorf("HEAD of %s: %d %v", format, head.status, head.header)
		}
	}
	if a := get(t, "otto", address+"db.sql?format=raw"); a.body != data || a.header.Get("Accept-Ranges") != "bytes" {
		t.Errorf("raw: %d %v", a.status, a.header)
	}
}

func TestFormatsThatAreNone(t *testing.T) {
	_, _, address := downloads(t)
	for path, want := range map[string][2]string{
		"db.sql?format=rar":    {"invalid", "raw, gz, bz2, zst, tar, tar.gz, zip"},
		"db.sql?format=zip":    {"not_folder", "raw, gz, bz2, zst"},
		"media":                {"is_folder", "tar, tar.gz, zip"},
		"media?format=gz":      {"is_folder", "tar, tar.gz, zip"},
		"nothing?format=zip":   {"not_found", ""},
		"media/?format=raw":    {"is_folder", "tar, tar.gz, zip"},
		"nothing/?format=bz2":  {"not_found", ""},
		"db.sql/?format=gz":    {"not_found", ""},
		"db.sql/x?format=tar":  {"not_folder", ""},
		"db.sql?format=../etc": {"invalid", ""},
	} {
		a := get(t, "otto", address+path)
		if a.code() != want[0] || !strings.Contains(a.body, want[1]) || a.header.Get("Content-Disposition") != "" {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	for _, format := range []string{"gz", "tar"} {
		if a := get(t, "vera", address+"db.sql?format="+format); a.status != 403 {
			t.Errorf("a viewer got %d", a.status)
		}
	}
}

func TestFolders(t *testing.T) {
	_, data, address := downloads(t)
	want := map[string]string{"media/a/" + evilFile: "hard to name", "media/logo.svg": "<svg onload=alert(1)>"}
	for format, list := range map[string]func(string) map[string]string{"tar": untar, "tar.gz": untargz, "zip": unzip} {
		a := get(t, "otto", address+"media?format="+format)
		got := list(a.body)
		if len(got) != len(want) {
			t.Errorf("%s: %d, %q", format, a.status, got)
		}
		for name, content := range want {
			if got[name] != content {
				t.Errorf("%s: %s: %q", format, name, got[name])
			}
		}
		_, params, err := mime.ParseMediaType(a.header.Get("Content-Disposition"))
		if err != nil || !strings.HasSuffix(params["filename"], "Z.media."+format) || a.header.Get("Accept-Ranges") != "none" {
			t.Errorf("%s: %v", format, a.header)
		}
		if again := get(t, "otto", address+"media/?format="+format); again.body != a.body || again.header.Get("ETag") != a.header.Get("ETag") {
			t.Errorf("%s: other bytes again", format)
		}
		if again := get(t, "otto", address+"media?format="+format, "If-None-Match", a.header.Get("ETag")); again.status != 304 {
			t.Errorf("%s: %d", format, again.status)
		}
		whole := get(t, "otto", strings.TrimSuffix(address, "shop/")+"?format="+format)
		got = list(whole.body)
		if got["shop/db.sql"] != data || got["shop/media/logo.svg"] == "" || got["shop/manifest.json"] == "" {
			t.Errorf("the whole snapshot as %s: %d, %d files, %v", format, whole.status, len(got), whole.header)
		}
		if _, params, _ := mime.ParseMediaType(whole.header.Get("Content-Disposition")); !strings.HasPrefix(params["filename"], "shop_20") || !strings.HasSuffix(params["filename"], "Z."+format) {
			t.Errorf("the whole snapshot: %q", params["filename"])
		}
	}
}

// untar lists files; nil when the archive is not whole.
func untar(data string) map[string]string {
	r, files := tar.NewReader(strings.NewReader(data)), map[string]string{}
	for {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		content, errRead := io.ReadAll(r)
		if err := errors.Join(err, errRead); err != nil {
			return nil
		}
		if h.Typeflag == tar.TypeReg {
			files[h.Name] = string(content)
		}
	}
}

func untargz(data string) map[string]string {
	z, err := gzip.NewReader(strings.NewReader(data))
	if err != nil {
		return nil
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		return nil
	}
	return untar(string(plain))
}

func unzip(data string) map[string]string {
	r, err := zip.NewReader(strings.NewReader(data), int64(len(data)))
	if err != nil {
		return nil
	}
	files := map[string]string{}
	for _, f := range r.File {
		if f.FileInfo().IsDir() {
			continue
		}
		in, err := f.Open()
		if err != nil {
			return nil
		}
		content, err := io.ReadAll(in)
		if err != nil {
			return nil
		}
		files[f.Name] = string(content)
	}
	return files
}

func TestStoredFramesAsTheyAre(t *testing.T) {
	_, data, address := downloads(t)
	at := address + "db.sql"
	plain := get(t, "otto", at)
	for _, accept := range []string{"zstd", "gzip, deflate, br, zstd", "zstd;q=0.5, gzip", "identity;q=0.5, zstd"} {
		a := get(t, "otto", at, "Accept-Encoding", accept)
		h := a.header
		if got := unzstd(t, []byte(a.body)); h.Get("Content-Encoding") != "zstd" || string(got) != data {
			t.Errorf("%s: %d bytes of %d, %v", accept, len(got), len(data), h)
		}
		for name, want := range map[string]string{
			"Content-Length": fmt.Sprint(len(a.body)), "Vary": "Accept-Encoding", "Repr-Digest": "", "Accept-Ranges": "none",
			"Etag": strings.TrimSuffix(plain.header.Get("ETag"), `"`) + `.zst"`, "Content-Type": "application/sql",
			"Content-Disposition": plain.header.Get("Content-Disposition"), "Cache-Control": plain.header.Get("Cache-Control"),
		} {
			if h.Get(name) != want {
				t.Errorf("%s: %s: %q, want %q", accept, name, h.Get(name), want)
			}
		}
		if again := get(t, "otto", at, "Accept-Encoding", accept, "If-None-Match", h.Get("ETag")); again.status != 304 || again.header.Get("Vary") == "" {
			t.Errorf("again: %d %v", again.status, again.header)
		}
		head := as(t, "otto", http.MethodHead, at, "", "Accept-Encoding", accept)
		if head.status != 200 || head.header.Get("Content-Encoding") != "zstd" || head.header.Get("Content-Length") != fmt.Sprint(len(a.body)) {
			t.Errorf("HEAD: %d %v", head.status, head.header)
		}
	}
	for _, headers := range [][]string{
		{}, {"Accept-Encoding", "gzip"}, {"Accept-Encoding", "zstd;q=0"}, {"Accept-Encoding", "identity, zstd;q=0.5"},
	} {
		if a := get(t, "otto", at, headers...); a.body != data || a.header.Get("Content-Encoding") != "" || a.header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%q: %d bytes, %v", headers, len(a.body), a.header)
		}
	}
	for range 2 { // what a browser sends that goes on with a download of frames
		a := get(t, "otto", at, "Accept-Encoding", "zstd", "Range", "bytes=10-", "If-Range", strings.TrimSuffix(plain.header.Get("ETag"), `"`)+`.zst"`)
		if a.status != 200 || a.body != data {
			t.Errorf("resumed frames: %d, %d bytes", a.status, len(a.body))
		}
	}
	if a := get(t, "otto", at, "Accept-Encoding", "zstd", "Range", "bytes=10-19"); a.status != 206 || a.body != data[10:20] || a.header.Get("Content-Encoding") != "" {
		t.Errorf("a range: %d %v", a.status, a.header)
	}
}

// Repr-Digest is of the whole, whatever is sent of it.
func TestReprDigest(t *testing.T) {
	_, _, address := downloads(t)
	want := get(t, "otto", address+"db.sql").header.Get("Repr-Digest")
	part := get(t, "otto", address+"db.sql", "Range", "bytes=0-9").header.Get("Repr-Digest")
	several := get(t, "otto", address+"db.sql", "Range", "bytes=0-9,20-29").header.Get("Repr-Digest")
	head := as(t, "otto", http.MethodHead, address+"db.sql", "").header.Get("Repr-Digest")
	if want == "" || part != want || several != want || head != want {
		t.Errorf("%q, of parts %q %q, HEAD %q", want, part, several, head)
	}
}

// Thousands of ranges cost no more than one does.
func TestThousandsOfRanges(t *testing.T) {
	var st *storagetest.Faulty
	env := newEnv(t, func(c *backup.Config) {
		st = storagetest.NewFaulty(c.Repositories[0].Storage)
		c.Repositories[0].Storage = st
	})
	data := noise(9 << 20)
	env.DB.Set(data)
	snap := env.Backed(t, "shop")
	at := mustSite(t, env.Service, "").URL + "/api/snapshots/" + snap.ID + "/files/shop/db.sql"
	cost := func(ranges string) (stored int64, sent int) {
		before := len(st.Trace())
		a := get(t, "otto", at, "Range", "bytes="+ranges)
		for _, op := range st.Trace()[before:] {
			if op.Kind == storagetest.Get && strings.HasPrefix(op.Name, "data/") {
				stored += op.L
			}
		}
		return stored, len(a.body)
	}
	one, sentOne := cost("0-")
	var far, same strings.Builder
	for i := range 4000 {
		fmt.Fprintf(&far, ",%d-%d", (i*7919)%len(data), (i*7919)%len(data))
		same.WriteString(",0-")
	}
	for name, ranges := range map[string]string{"far": far.String()[1:], "same": same.String()[1:], "ten of all": strings.Repeat("0-,", 9) + "0-"} {
		many, sent := cost(ranges)
		for try := 1; try < 4 && many > one+one/10 && sent <= sentOne; try++ { // who is slow to take it has some read twice, at times
			many, sent = cost(ranges)
		}
		if many > one+one/10 || sent > sentOne {
			t.Errorf("%s: %d bytes read and %d sent, for one range %d and %d", name, many, sent, one, sentOne)
		}
	}
}

// Damage in mid-body breaks every format visibly, and damage at the beginning is an answer.
func TestDamageBreaksFormats(t *testing.T) {
	env := newEnv(t)
	env.DB.Set(noise(12 << 20))
	env.Backed(t, "shop")
	api := adminAPI(env.Service)
	api.Logger = backuptest.Logger(t)
	server := httptest.NewServer(api)
	defer server.Close()
	curl := realtest.Need(t, "curl")
	formats := map[string][]string{"raw": nil, "gz": {"gzip", "-t"}, "bz2": {"bzip2", "-t"}, "zst": {"zstd", "-qt"}, "tar": {"tar", "-t"},
		"tar.gz": {"tar", "-tz"}, "zip": {"unzip", "-tq"}, "zstd": nil}
	if testing.Short() { // these go the same ways as gz and tar
		delete(formats, "bz2")
		delete(formats, "tar.gz")
	}
	for format, test := range formats {
		broken, answered := 0, 0
		for at := 0.05; at < 1 && (broken == 0 || answered == 0); at += 0.15 {
			repair := damageLargestPack(t, env, at)
			file := t.TempDir() + "/out"
			path := "/snapshots/latest/files/shop/db.sql?format=" + format
			args := []string{"-sS", "--noproxy", "*", "--fail", "-o", file}
			switch format {
			case "tar", "tar.gz", "zip":
				path = "/snapshots/latest/files/shop?format=" + format
			case "zstd":
				path = "/snapshots/latest/files/shop/db.sql"
				args = append(args, "--compressed")
			}
			switch out, err := exec.Command(curl, append(args, server.URL+path)...).CombinedOutput(); realtest.ExitCode(err) {
			case 22: // an answer 4xx or 5xx
				if !strings.Contains(string(out), "503") {
					t.Errorf("%s: %s", format, out)
				}
				answered++
			case 18, 23, 56, 61: // a transfer that is not whole
				broken++
				if test != nil {
					if exec.Command(realtest.Need(t, test[0]), append(test[1:], fileArgs(test[0], file)...)...).Run() == nil {
						t.Errorf("%s takes half a %s for whole", test[0], format)
					}
				}
			default:
				t.Errorf("%s: curl says %v, %s", format, err, out)
			}
			repair()
		}
		if broken == 0 {
			t.Errorf("%s: never broken, %d times answered", format, answered)
		}
	}
}

func fileArgs(program, file string) []string {
	if program == "tar" {
		return []string{"-f", file}
	}
	return []string{file}
}

// curl resumes a download that was cut anywhere, and its SHA-256 is the manifest's.
func TestCurlResumes(t *testing.T) {
	env, data, address := downloads(t)
	curl := realtest.Need(t, "curl")
	snap, err := env.Snapshot(t.Context(), "", "latest", "shop")
	if err != nil {
		t.Fatal(err)
	}
	file := t.TempDir() + "/db.sql"
	fetch := func(args ...string) {
		t.Helper()
		args = append([]string{"-sS", "--noproxy", "*", "--fail", "-H", userHeader + ": otto", "-o", file, address + "db.sql"}, args...)
		if out, err := exec.Command(curl, args...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(got); hex.EncodeToString(sum[:]) != snap.Manifest.Parts[0].SHA256 {
			t.Fatalf("%q: %d bytes of %d, and not the manifest's", args, len(got), len(data))
		}
	}
	n := len(data)
	cuts := []int{1, 2, 511, 4095, 65536, n / 3, n/2 + 1, n - 65537, n - 2, n - 1}
	if realtest.Soak() {
		for i := range 500 {
			cuts = append(cuts, i*(n/500)+i)
		}
	}
	for _, cut := range cuts {
		if err := os.WriteFile(file, []byte(data[:cut]), 0o600); err != nil {
			t.Fatal(err)
		}
		fetch("-C", "-")
	}
	os.Remove(file)
	fetch("--compressed") // curl asks for zstd and decodes it
}
