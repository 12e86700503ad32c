package handler

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// linked is a site with a snapshot, and a signer of links to it.
func linked(t *testing.T, change ...func(*backup.Config)) (env *backuptest.Env, snap backup.Snapshot, sign func(change ...func(*backup.Link)) string) {
	t.Helper()
	var public string
	server := httptest.NewUnstartedServer(nil)
	public = "http://" + server.Listener.Addr().String()
	env = newEnv(t, append(change, func(c *backup.Config) { c.PublicURL = public + "/" })...)
	h, _, err := provision(t, env.Service, `{"admins": ["anna"]}`)
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = site(h, "")
	server.Start()
	t.Cleanup(server.Close)
	env.DB.Set(strings.Repeat("insert into customer;\n", 1000))
	snap = env.Backed(t, "shop")
	return env, snap, func(change ...func(*backup.Link)) string {
		t.Helper()
		l := backup.Link{Repository: "default", Snapshot: snap.StableID, Path: "/shop/db.sql", Format: "raw", Expires: time.Now().Add(time.Hour)}
		for _, f := range change {
			f(&l)
		}
		address, err := env.SignLink(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		return address
	}
}

// TestSignedLink: whoever has one gets that file, without a user, in parts, too, and nothing keeps or passes on its address.
func TestSignedLink(t *testing.T) {
	env, snap, sign := linked(t)
	data := string(env.Read(t, snap.ID, "/shop/db.sql"))
	address := sign()
	a := get(t, "", address)
	if a.status != 200 || a.body != data || a.header.Get("Cache-Control") != "no-store, no-transform" || a.header.Get("Referrer-Policy") != "no-referrer" ||
		!strings.Contains(a.header.Get("Content-Disposition"), "Z.db.sql") || a.header.Get("Content-Security-Policy") != "default-src 'none'; sandbox" {
		t.Errorf("%d, %d bytes, %v", a.status, len(a.body), a.header)
	}
	if a := as(t, "", http.MethodHead, address, ""); a.status != 200 || a.body != "" {
		t.Errorf("HEAD: %d", a.status)
	}
	if a := get(t, "", address, "Range", "bytes=100-199"); a.status != 206 || a.body != data[100:200] {
		t.Errorf("a range: %d %q", a.status, a.body)
	}
	out, err := exec.Command(realtest.Need(t, "curl"), "-sS", "--noproxy", "*", "--fail", "-r", "-50", address).CombinedOutput()
	if err != nil || string(out) != data[len(data)-50:] {
		t.Errorf("curl: %v %s", err, out)
	}
	gz := get(t, "", sign(func(l *backup.Link) { l.Format = "gz" }))
	cmd := exec.Command(realtest.Need(t, "gzip"), "-dc")
	cmd.Stdin = strings.NewReader(gz.body)
	if plain, err := cmd.Output(); err != nil || string(plain) != data {
		t.Errorf("gz: %v, %d bytes", err, len(plain))
	}
	folder := get(t, "", sign(func(l *backup.Link) { l.Path, l.Format = "/shop/media", "tar.gz" }))
	cmd = exec.Command(realtest.Need(t, "tar"), "-tz")
	cmd.Stdin = strings.NewReader(folder.body)
	if list, err := cmd.Output(); err != nil || !strings.Contains(string(list), "media/logo.svg") {
		t.Errorf("folder: %v %s", err, list)
	}
}

// TestForgedLinks: nothing of a link can be changed, left out, doubled or added.
func TestForgedLinks(t *testing.T) {
	env, snap, sign := linked(t)
	good := sign()
	set := func(name, value string) string {
		u, _ := url.Parse(good)
		q := u.Query()
		q.Set(name, value)
		u.RawQuery = q.Encode()
		return u.String()
	}
	drop := func(name string) string {
		u, _ := url.Parse(good)
		q := u.Query()
		q.Del(name)
		u.RawQuery = q.Encode()
		return u.String()
	}
	u, _ := url.Parse(good)
	sig, later := u.Query().Get("sig"), u.Query().Get("expires")+"0"
	flipped, _ := hex.DecodeString(sig)
	flipped[31] ^= 1
	other := env.Backed(t, "shop")
	for name, c := range map[string]struct {
		address string
		status  int
	}{
		"another file":       {strings.Replace(good, "/db.sql", "/manifest.json", 1), 403},
		"a file that is not": {strings.Replace(good, "/db.sql", "/nosuch", 1), 403},
		"the folder":         {strings.Replace(good, "/shop/db.sql", "/shop", 1), 403},
		"another snapshot":   {strings.Replace(good, snap.StableID, other.ID, 1), 403},
		"a prefix of the ID": {strings.Replace(good, snap.StableID, snap.StableID[:8], 1), 403},
		"latest":             {strings.Replace(good, snap.StableID, "latest", 1), 403},
		"another format":     {set("format", "gz"), 403},
		"no format":          {drop("format"), 403},
		"later":              {set("expires", later), 403},
		"no end":             {drop("expires"), 403},
		"written otherwise":  {set("expires", "0"+u.Query().Get("expires")), 403},
		"another repository": {set("repository", "second"), 403},
		"no signature":       {drop("sig"), 403},
		"empty signature":    {set("sig", ""), 403},
		"short signature":    {set("sig", sig[:62]), 403},
		"one bit":            {set("sig", hex.EncodeToString(flipped)), 403},
		"no hex":             {set("sig", strings.Repeat("x", 64)), 403},
		"relative":           {set("relative", "true"), 403},
		"job":                {set("job", "shop"), 403},
		"twice":              {good + "&format=raw", 403},
		"semicolon":          {good + ";format=gz", 403},
		"dots":               {strings.Replace(good, "/shop/", "/shop/../shop/", 1), 403},
		"two slashes":        {strings.Replace(good, "/shop/", "//shop/", 1), 403},
		"no path":            {strings.Split(good, "/shop/")[0], 403},
		"expired":            {sign(func(l *backup.Link) { l.Expires = time.Now().Add(-time.Second) }), 403},
		"snapshot gone":      {sign(func(l *backup.Link) { l.Snapshot = strings.Repeat("ab", 32) }), 404},
		"file gone":          {sign(func(l *backup.Link) { l.Path = "/shop/nosuch" }), 404},
	} {
		for _, user := range []string{"", "anna"} { // a session adds nothing
			a := get(t, user, c.address)
			if a.status != c.status || !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") || a.header.Get("Cache-Control") != "no-store" ||
				strings.Count(a.body, "\n") != 1 || strings.Contains(a.body, "shop") {
				t.Errorf("%s: %d %s %v", name, a.status, a.body, a.header)
			}
		}
		if want := "expired"; (name == want) != strings.Contains(get(t, "", c.address).body, want) {
			t.Errorf("%s: %s", name, get(t, "", c.address).body)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
		if a := as(t, "anna", method, good, ""); a.status < 400 {
			t.Errorf("%s: %d", method, a.status)
		}
	}
	if a := get(t, "", strings.Replace(good, "/links/", "/snapshots/", 1)); a.status != 403 {
		t.Errorf("as a page: %d", a.status)
	}
	if a := get(t, "", good); a.status != 200 {
		t.Errorf("the good one: %d", a.status)
	}
}

// TestKeyOfLinks: without its file all links are invalid, one of another length signs nothing, and a storage that fails does
// not open what it should not.
func TestKeyOfLinks(t *testing.T) {
	env, _, sign := linked(t)
	const key = "backup/links.key"
	old := sign()
	if data, err := env.Store.Load(t.Context(), key); len(data) != 32 || err != nil {
		t.Fatalf("the key has %d bytes, %v", len(data), err)
	}
	if err := env.Store.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if a := get(t, "", old); a.status != 403 {
		t.Errorf("without the key: %d", a.status)
	}
	next := sign()
	if a, b := get(t, "", old), get(t, "", next); a.status != 403 || b.status != 200 {
		t.Errorf("after a rotation: %d for the old one, %d for the new one", a.status, b.status)
	}
	env.Store.Fail(errors.New("the disk of /var/lib/caddy is gone"))
	if a := get(t, "", next); a.status != 500 || strings.Contains(a.body, "disk") {
		t.Errorf("with a storage that fails: %d %s", a.status, a.body)
	}
	env.Store.Fail(nil)
	for _, bad := range []string{"", "short"} {
		if err := env.Store.Store(t.Context(), key, []byte(bad)); err != nil {
			t.Fatal(err)
		}
		if a := get(t, "", next); a.status != 403 {
			t.Errorf("with a key of %d bytes: %d", len(bad), a.status)
		}
		if a := get(t, "", sign()); a.status != 200 {
			t.Errorf("a new key: %d", a.status)
		}
	}
}

// TestLinksToDamage: it is an answer at the beginning, and a broken connection later, as of any download.
func TestLinksToDamage(t *testing.T) {
	env, _, sign := linked(t)
	env.DB.Set(noise(3 << 20))
	snap := env.Backed(t, "shop")
	address := sign(func(l *backup.Link) { l.Snapshot = snap.ID })
	defer damageLargestPack(t, env, 0.1)()
	resp, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil && (resp.StatusCode != 503 || !strings.Contains(string(body), "cannot be downloaded now")) {
		t.Errorf("status %d, %d bytes", resp.StatusCode, len(body))
	}
}

// Whatever stands in an address, it is judged without a panic, and only what was signed is honoured.
func FuzzLink(f *testing.F) {
	for _, q := range []string{"format=raw&expires=1&sig=00", "expires=-1&format=&sig=", "a=b;c", "%zz", "format=raw&format=gz&expires=1&sig=00"} {
		f.Add("abc/shop/db.sql", q)
	}
	f.Fuzz(func(t *testing.T, path, query string) {
		r := httptest.NewRequest("GET", "http://localhost/", nil)
		r.URL.Path, r.URL.RawQuery = "/links/"+path, query
		l, _, err := parseLink(&call{w: httptest.NewRecorder(), r: r})
		if err == nil && (l.Format == "" || l.Repository == "") {
			t.Errorf("%q is taken for %+v", query, l)
		}
	})
}

// TestMakeLink: who may download may pass that on, for ten minutes.
func TestMakeLink(t *testing.T) {
	env, snap, _ := linked(t)
	h, _, err := provision(t, env.Service, `{"admins": ["anna"], "operators": ["otto"], "viewers": ["vera"]}`)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(site(h, ""))
	defer server.Close()
	at := server.URL + "/api/snapshots/" + snap.ID[:12] + "/link"
	for body, format := range map[string]string{`{"path": "db.sql"}`: "raw", `{"path": "/shop/db.sql", "format": "gz"}`: "gz", `{"path": "media", "format": "tar.gz"}`: "tar.gz"} {
		asked := time.Now()
		a := as(t, "otto", "POST", at, body)
		var made backup.MadeLink
		if err := json.Unmarshal([]byte(a.body), &made); err != nil || a.status != 201 || !strings.Contains(made.URL, "/links/"+snap.StableID+"/shop/") ||
			made.Expires.Before(asked.Add(10*time.Minute-time.Second)) || made.Expires.After(time.Now().Add(10*time.Minute+time.Second)) {
			t.Errorf("%s: %d %s", body, a.status, a.body)
			continue
		}
		if got := get(t, "", made.URL); got.status != 200 || len(got.body) == 0 || !strings.Contains(made.URL, "format="+format) {
			t.Errorf("%s: %d", made.URL, got.status)
		}
	}
	for body, status := range map[string]int{`{"path": "nosuch"}`: 404, `{"path": "media"}`: 400, `{"path": "db.sql", "format": "zip"}`: 400, `{"path": "db.sql", "format": "rar"}`: 400} {
		if a := as(t, "otto", "POST", at, body); a.status != status {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	private := newEnv(t)
	other := private.Backed(t, "shop")
	if a := as(t, "otto", "POST", mustSite(t, private.Service, "").URL+"/api/snapshots/"+other.ID+"/link", `{"path": "db.sql"}`); a.status != 400 || !strings.Contains(a.body, "public_url") {
		t.Errorf("%d %s", a.status, a.body)
	}
}
