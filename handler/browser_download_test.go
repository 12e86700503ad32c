package handler

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/repo"
)

// A browser gets the stored frames, compressed ones and wrapped ones, and saves what was dumped; and it finds the links to
// other formats.
func TestBrowserDecodesStoredFrames(t *testing.T) {
	b := newTab(t)
	env := newEnv(t, func(c *backup.Config) { c.Repositories[0].Compression = repo.CompressionOff })
	plain, text := noise(6<<20), strings.Repeat("insert into customer values (1);\n", 200_000)
	env.DB.Set(plain)
	env.Backed(t, "shop")
	config := env.Config
	config.Repositories[0].Compression = repo.CompressionAuto
	detach, err := env.Attach(config)
	if err != nil {
		t.Fatal(err)
	}
	defer detach()
	env.DB.Set(plain + text)
	snap := env.Backed(t, "shop")

	var mu sync.Mutex
	var encodings []string
	site := signedIn(t, env.Service, "otto", "")
	watching := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		site.Config.Handler.ServeHTTP(w, r)
		if strings.Contains(r.URL.Path, "/files/") && r.Method == http.MethodGet {
			mu.Lock()
			defer mu.Unlock()
			encodings = append(encodings, w.Header().Get("Content-Encoding")+w.Header().Get("Content-Length"))
		}
	}))
	defer watching.Close()
	b.do(chromedp.Navigate(watching.URL + "/snapshots/" + snap.ID))
	if got := b.download(chromedp.CSS(`a[href$="/shop/db.sql"]`)); got != plain+text {
		t.Errorf("downloaded %d bytes of %d", len(got), len(plain+text))
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		mu.Lock()
		noted := len(encodings) // by the handler, at its end, which the browser need not wait for
		mu.Unlock()
		if noted > 0 {
			break
		}
	}
	mu.Lock()
	if len(encodings) != 1 || !strings.HasPrefix(encodings[0], "zstd") || encodings[0] == "zstd" {
		t.Errorf("the browser got %q", encodings)
	}
	mu.Unlock()
	b.shot("formats")
	if got := unzip(b.save(chromedp.CSS(`a[href$="/shop/media?format=zip"]`), "shop_*Z.media.zip")); got["media/logo.svg"] == "" {
		t.Errorf("the zip holds %q", got)
	}
	if got := b.save(chromedp.CSS(`a[href$="/shop/db.sql?format=zst"]`), "shop_*Z.db.sql.zst"); string(unzstd(t, []byte(got))) != plain+text {
		t.Errorf("saved %d bytes of frames", len(got))
	}
	b.do(chromedp.Click(chromedp.CSS(`a[href$="/ls/"]`)))
	b.wait(`document.querySelector("h1")?.textContent === "/"`)
	if got := untargz(b.save(chromedp.CSS(`a[href$="/files/?format=tar.gz"]`), "shop_*Z.tar.gz")); got["shop/db.sql"] != plain+text {
		t.Errorf("the whole snapshot holds %d files", len(got))
	}
}
