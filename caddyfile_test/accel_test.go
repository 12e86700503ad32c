package integration

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/fcgi"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
)

// TestAccelProxy has a real Caddy compress, and pass on what an application streams, upgrades and announces, and send
// what it names: over reverse_proxy, and over FastCGI.
func TestAccelProxy(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("a line that could be compressed\n", 1000)
	if err := os.Mkdir(filepath.Join(w.dir, "files"), 0o755); err != nil {
		t.Fatal(err)
	}
	w.write("files/long.txt", long)
	received := make(chan struct{})
	upstream := httptest.NewServer(accelApp(t, long, received))
	defer upstream.Close()
	socket, err := net.Listen("unix", filepath.Join(w.dir, "fcgi"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	go fcgi.Serve(socket, accelApp(t, long, received))

	proxied, fast := freeAddress(t), freeAddress(t)
	site := "http://%s {\n\tbind 127.0.0.1\n\tencode gzip\n\tbackup_accel {\n\t\tsnapshots /_backups/ quick\n\t\tfiles /_protected/ " +
		w.dir + "/files\n\t}\n\treverse_proxy %s\n\thandle_errors {\n\t\trespond \"{err.status_code} {err.message}\"\n\t}\n}\n"
	w.begin(w.config("", fmt.Sprintf(site, proxied, upstream.Listener.Addr())+
		fmt.Sprintf(site, fast, "unix/"+w.dir+"/fcgi {\n\t\ttransport fastcgi\n\t}")))
	for _, job := range []string{"quick", "slow"} {
		w.release()
		run, err := admin.Backup(t.Context(), job)
		if err != nil {
			t.Fatal(err)
		}
		if run = finish(t, admin, run.ID); run.State != backup.StateOK {
			t.Fatalf("the backup is %s: %s", run.State, run.Error)
		}
	}
	for name, address := range map[string]string{"reverse_proxy": proxied, "fastcgi": fast} {
		t.Run(name, func(t *testing.T) { accelAnswers(t, "http://"+address, long) })
	}
	t.Run("stream", func(t *testing.T) { accelStream(t, "http://"+proxied, received) })
	t.Run("upgrade", func(t *testing.T) { accelUpgrade(t, proxied) })
}

// accelApp is an application: below /name/ it names what the query says.
func accelApp(t *testing.T, long string, received chan struct{}) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/name", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Accel-Redirect", r.URL.Query().Get("file"))
		w.Header().Set("X-Accel-Buffering", "no")
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, "the application's own body")
	})
	mux.HandleFunc("/own", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("X-Accel-Buffering", "no")
		io.WriteString(w, long)
	})
	mux.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("X-Accel-Buffering", "no")
		w.Header().Set("Trailer", "X-Sum")
		fmt.Fprint(w, "data: one\n\n")
		w.(http.Flusher).Flush()
		<-received
		fmt.Fprint(w, "data: two\n\n")
		w.Header().Set("X-Sum", "1")
		w.Header().Set(http.TrailerPrefix+"X-Accel-Redirect", "/_protected/long.txt")
	})
	mux.HandleFunc("/upgrade", func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\nX-Accel-Redirect: /_protected/long.txt\r\n\r\n")
		rw.Flush()
		line, _ := rw.ReadString('\n')
		fmt.Fprint(rw, line)
		rw.Flush()
	})
	return mux
}

func accelAnswers(t *testing.T, site, long string) {
	for _, c := range []struct {
		path   string
		status int
		body   string
		coding string
	}{
		{"/own", 200, long, "gzip"},
		{"/name?file=/_protected/long.txt", 200, long, ""},
		{"/name?file=/_backups/quick/latest/out.dump", 200, "data\n", ""},
		{"/name?file=/_backups/slow/latest/out.dump", 404, "404 the file cannot be sent", ""},
		{"/name?file=/_protected/../secret", 404, "404 the file cannot be sent", ""},
		{"/name?file=", 404, "404 the file cannot be sent", ""},
		{"/_protected/long.txt", 404, "404 page not found\n", ""},
	} {
		req, err := http.NewRequest("GET", site+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept-Encoding", "gzip")
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body := read(t, resp)
		if resp.StatusCode != c.status || resp.Header.Get("Content-Encoding") != c.coding || c.coding == "" && body != c.body ||
			resp.Header.Get("X-Accel-Redirect")+resp.Header.Get("X-Accel-Buffering") != "" {
			t.Errorf("%s: %s, %d bytes, %v", c.path, resp.Status, len(body), resp.Header)
		}
		if c.status == 200 && c.coding == "" && resp.ContentLength != int64(len(c.body)) {
			t.Errorf("%s: Content-Length %d", c.path, resp.ContentLength)
		}
	}
}

// accelStream wants the first event before the second is sent.
func accelStream(t *testing.T, site string, received chan struct{}) {
	resp, err := http.Get(site + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	r := bufio.NewReader(resp.Body)
	if line, err := r.ReadString('\n'); line != "data: one\n" || err != nil {
		t.Fatalf("%q %v", line, err)
	}
	received <- struct{}{}
	if rest, err := io.ReadAll(r); string(rest) != "\ndata: two\n\n" || err != nil {
		t.Errorf("%q %v", rest, err)
	}
	if resp.Trailer.Get("X-Sum") != "1" || resp.Trailer.Get("X-Accel-Redirect") != "" || resp.Header.Get("X-Accel-Buffering") != "" {
		t.Errorf("trailers %v, headers %v", resp.Trailer, resp.Header)
	}
}

func accelUpgrade(t *testing.T, address string) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /upgrade HTTP/1.1\r\nHost: %s\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n", address)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("X-Accel-Redirect") != "" {
		t.Fatalf("%v %v", resp, err)
	}
	fmt.Fprint(conn, "hello\n")
	if line, err := r.ReadString('\n'); line != "hello\n" || err != nil {
		t.Errorf("%q %v", line, err)
	}
}
