package handler

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// dial connects. A narrow one has a receive buffer so small that the server soon has to wait.
func dial(t *testing.T, address string, narrow bool) net.Conn {
	t.Helper()
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			if narrow {
				_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
			}
		})
	}}
	conn, err := d.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// resident is the memory of this process in bytes.
func resident(t *testing.T) int64 {
	t.Helper()
	data, err := os.ReadFile("/proc/self/statm")
	var size, pages int64
	if _, scanned := fmt.Sscan(string(data), &size, &pages); err != nil || scanned != nil {
		t.Fatal(err, scanned)
	}
	return pages * int64(os.Getpagesize())
}

// highest samples the resident memory until stop is called, and returns the most that it was.
func highest(t *testing.T) (stop func() int64) {
	done, most := make(chan struct{}), atomic.Int64{}
	var sampling sync.WaitGroup
	sampling.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
				most.Store(max(most.Load(), resident(t)))
			}
		}
	})
	return func() int64 { close(done); sampling.Wait(); return most.Load() }
}

func heap() int64 {
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// A thousand clients (fewer outside of make soak) ask for a large file, identity and zstd, and read next to nothing of it. All get their first bytes,
// and the server stays small; those that go on then get what they asked for.
func TestStalledClients(t *testing.T) {
	const most = 512 << 20
	clients := 300
	switch {
	case realtest.Race: // which takes long, and does not need many
		clients = 50
	case realtest.Soak():
		clients = 1000
	}
	env := newEnv(t)
	data := strings.Repeat(noise(3<<20)+strings.Repeat("insert into customer values (1);\n", 30_000), 6)
	env.DB.Set(data)
	snap := env.Backed(t, "shop")
	server := httptest.NewUnstartedServer(adminAPI(env.Service))
	server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		_ = c.(*net.TCPConn).SetWriteBuffer(64 << 10) // or the kernel runs out of memory for all of them, and resets some when they end
		return ctx
	}
	server.Start()
	t.Cleanup(server.Close) // behind the connections
	request := "GET /snapshots/" + snap.ID + "/files/shop/db.sql HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"

	base, baseHeap := resident(t), heap()
	stop := highest(t)
	conns := make([]*bufio.Reader, clients)
	var begun sync.WaitGroup
	for i := range conns {
		conn := dial(t, server.Listener.Addr().String(), i < clients-4)
		conns[i] = bufio.NewReaderSize(conn, 512)
		begun.Go(func() {
			coding := ""
			if i%2 == 1 {
				coding = "Accept-Encoding: zstd\r\n"
			}
			_, err := io.WriteString(conn, request+coding+"\r\n")
			if err == nil {
				_, err = conns[i].Peek(64)
			}
			if err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	begun.Wait()
	// A reader is patient for two seconds before it gives back, on a busy machine for more.
	settled, patience := heap()-baseHeap, time.Now().Add(time.Minute)
	for settled/int64(clients) > 256<<10 && time.Now().Before(patience) {
		time.Sleep(time.Second)
		settled = heap() - baseHeap
	}
	peak := stop() - base
	t.Logf("%d stalled clients: at most %d MiB more, %d KiB each in the end", clients, peak>>20, settled/int64(clients)>>10)
	if peak > most && !realtest.Race {
		t.Errorf("the server took %d MiB", peak>>20)
	}
	if settled/int64(clients) > 256<<10 {
		t.Errorf("each stalled client costs %d KiB", settled/int64(clients)>>10)
	}
	for i := clients - 4; i < clients; i++ {
		resp, err := http.ReadResponse(conns[i], nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if err == nil && resp.Header.Get("Content-Encoding") == "zstd" {
			got = unzstd(t, got)
		}
		if err != nil || !bytes.Equal(got, []byte(data)) {
			t.Errorf("client %d: %d bytes of %d, %v", i, len(got), len(data), err)
		}
	}
}
