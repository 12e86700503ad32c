package handler

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/storage"
)

// sqlText is n bytes like those of a dump: it compresses to about a quarter.
func sqlText(n int) string {
	var b strings.Builder
	r := rand.New(rand.NewPCG(1, 2))
	for b.Len() < n {
		fmt.Fprintf(&b, "%d\tcustomer%07d@example.com\t%x\t2026-%02d-%02d\t%d.%02d\n", b.Len(), r.IntN(1e7), r.Uint32(), r.IntN(12)+1, r.IntN(28)+1, r.IntN(1000), r.IntN(100))
	}
	return b.String()[:n]
}

// cpuTime is what this process has used, the client's part included. On a busy machine it tells more than the clock.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkDownload compares downloads from a repository on a disk with net/http's file server on the same content. Only
// the ratios of one run count.
func BenchmarkDownload(b *testing.B) {
	local := storage.NewLocal(b.TempDir())
	backuptest.InitCheaply(b, local)
	env := backuptest.New(b, func(c *backup.Config) { c.Repositories[0].Storage = local })
	data := sqlText(256 << 20)
	env.DB.Set(data)
	snap := env.Backed(b, "shop")
	dir := b.TempDir()
	if err := os.WriteFile(dir+"/db.sql", []byte(data), 0o600); err != nil {
		b.Fatal(err)
	}
	ours := httptest.NewServer(adminAPI(env.Service))
	defer ours.Close()
	theirs := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer theirs.Close()
	file := ours.URL + "/snapshots/" + snap.ID + "/files/shop/db.sql"
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	fetch := func(b *testing.B, address string, headers ...string) {
		req, _ := http.NewRequest("GET", address, nil)
		for i := 0; i+1 < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		resp, err := client.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, make([]byte, 256<<10)); err != nil || resp.StatusCode >= 300 {
			b.Fatal(resp.Status, err)
		}
	}
	for _, c := range []struct {
		name, address string
		headers       []string
	}{
		{"file_server", theirs.URL + "/db.sql", nil},
		{"identity", file, nil},
		{"zstd_as_stored", file, []string{"Accept-Encoding", "zstd"}},
		{"gz", file + "?format=gz", nil},
		{"tar", ours.URL + "/snapshots/" + snap.ID + "/files/shop?format=tar", nil},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			before := cpuTime(b)
			for b.Loop() {
				fetch(b, c.address, c.headers...)
			}
			b.ReportMetric((cpuTime(b)-before).Seconds()*1000/float64(b.N), "cpu-ms/op")
		})
	}
	for at := range 48 { // into the cache
		fetch(b, file, "Range", fmt.Sprintf("bytes=%d-%d", at<<20, (at+1)<<20-1))
	}
	for _, size := range []int{64 << 10, 1 << 20} {
		for name, address := range map[string]string{"file_server": theirs.URL + "/db.sql", "ours": file} {
			b.Run(fmt.Sprintf("ranges_%dK/%s", size>>10, name), func(b *testing.B) {
				b.SetBytes(int64(size))
				r := rand.New(rand.NewPCG(1, 2))
				before := cpuTime(b)
				for b.Loop() {
					at := r.IntN(48<<20 - size) // what fits the cache
					fetch(b, address, "Range", fmt.Sprintf("bytes=%d-%d", at, at+size-1))
				}
				b.ReportMetric((cpuTime(b)-before).Seconds()*1000/float64(b.N), "cpu-ms/op")
			})
		}
	}
}
