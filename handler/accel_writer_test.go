package handler

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// plainAccel is the handler with a folder of files below /f/, in which is the file "x".
func plainAccel(t testing.TB) (a *Accel, root string) {
	t.Helper()
	root = t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "x"), []byte("the file"), 0o644); err != nil {
		t.Fatal(err)
	}
	module, _, err := provisionModule(t, nil, "http.handlers.backup_accel", fmt.Sprintf(`{"files": [{"prefix": "/f/", "root": %q}]}`, root))
	if err != nil {
		t.Fatal(err)
	}
	return module.(*Accel), root
}

// startAccel serves an application behind the handler, over HTTP/1.1 and over HTTP/2.
func startAccel(t *testing.T, a *Accel, app http.HandlerFunc) (h1, h2 *httptest.Server) {
	t.Helper()
	h := serveAccel(a, func(w http.ResponseWriter, r *http.Request) error { app(w, r); return nil })
	h1, h2 = httptest.NewServer(h), httptest.NewUnstartedServer(h)
	h2.EnableHTTP2 = true
	h2.StartTLS()
	t.Cleanup(h1.Close)
	t.Cleanup(h2.Close)
	return h1, h2
}

func TestAccelHTTP2(t *testing.T) {
	a, _ := plainAccel(t)
	defer noLeaks(t)()
	h1, h2 := startAccel(t, a, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Accel-Redirect", "/f/x")
		w.Header().Set("Content-Length", "4")
		fmt.Fprint(w, "body")
	})
	defer h2.Close()
	h1.Close()
	resp, err := h2.Client().Get(h2.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if string(body) != "the file" || err != nil || resp.ProtoMajor != 2 || resp.ContentLength != 8 || resp.Header.Get("X-Accel-Redirect") != "" {
		t.Errorf("%q %v %v", body, err, resp)
	}
}

// Early hints pass at once, without the header; it counts in the final answer only.
func TestAccelInformational(t *testing.T) {
	a, _ := plainAccel(t)
	for _, file := range []bool{true, false} {
		h1, h2 := startAccel(t, a, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.Header().Set("X-Accel-Redirect", "/f/x")
			w.WriteHeader(http.StatusEarlyHints)
			if file {
				w.Header().Set("X-Accel-Redirect", "/f/x")
			}
			fmt.Fprint(w, "body")
		})
		want := map[bool]string{true: "the file", false: "body"}[file]
		for _, server := range []*httptest.Server{h1, h2} {
			hints := 0
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				if hints++; code != 103 || h.Get("Link") == "" || h.Get("X-Accel-Redirect") != "" {
					t.Errorf("%d %v", code, h)
				}
				return nil
			}})
			req, _ := http.NewRequestWithContext(ctx, "GET", server.URL, nil)
			resp, err := server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(body) != want || hints != 1 || resp.Header.Get("X-Accel-Redirect") != "" {
				t.Errorf("%q after %d hints, %v", body, hints, resp.Header)
			}
		}
	}
}

// A stream reaches the client as it is written and flushed; one that goes with a file reaches nobody.
func TestAccelFlush(t *testing.T) {
	a, _ := plainAccel(t)
	received := make(chan struct{})
	h1, h2 := startAccel(t, a, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/file" {
			w.Header().Set("X-Accel-Redirect", "/f/x")
		}
		w.Header().Set("X-Accel-Buffering", "no")
		if err := http.NewResponseController(w).Flush(); err != nil { // also sends the header
			t.Error(err)
		}
		fmt.Fprint(w, "one ")
		w.(http.Flusher).Flush()
		if r.URL.Path == "/stream" {
			<-received
		}
		if n, err := io.Copy(w, strings.NewReader("two")); n != 3 || err != nil {
			t.Errorf("copied %d, %v", n, err)
		}
	})
	for _, server := range []*httptest.Server{h1, h2} {
		for path, want := range map[string]string{"/stream": "one two", "/file": "the file"} {
			resp, err := server.Client().Get(server.URL + path)
			if err != nil {
				t.Fatal(err)
			}
			start := make([]byte, 4)
			if _, err := io.ReadFull(resp.Body, start); err != nil {
				t.Fatal(err)
			}
			if path == "/stream" {
				received <- struct{}{}
			}
			rest, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(start)+string(rest) != want || err != nil || resp.Header.Get("X-Accel-Buffering") != "" {
				t.Errorf("%s: %q %q %v", path, start, rest, err)
			}
		}
	}
}

// An application that sends the file itself as well, or never ends, is not waited for.
func TestAccelEndlessBody(t *testing.T) {
	a, _ := plainAccel(t)
	for _, c := range []struct {
		name  string
		write func(w http.ResponseWriter) error
	}{
		{"write", func(w http.ResponseWriter) error {
			for {
				if _, err := w.Write(make([]byte, 1000)); err != nil {
					return err
				}
			}
		}},
		{"copy, and panic like reverse_proxy", func(w http.ResponseWriter) error {
			if _, err := io.Copy(w, neverEnding{}); err != nil {
				panic(http.ErrAbortHandler)
			}
			return nil
		}},
	} {
		h := serveAccel(a, func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("X-Accel-Redirect", "/f/x")
			return c.write(w)
		})
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if w.Code != 200 || w.Body.String() != "the file" {
			t.Errorf("%s: %d %q", c.name, w.Code, w.Body)
		}
	}
	for _, named := range []bool{true, false} { // any other panic stays one
		func() {
			defer func() {
				if recover() == nil {
					t.Error("a panic was swallowed")
				}
			}()
			serveAccel(a, func(w http.ResponseWriter, r *http.Request) error {
				if named {
					w.Header().Set("X-Accel-Redirect", "/f/x")
					w.WriteHeader(200)
				}
				panic(http.ErrAbortHandler)
			}).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		}()
	}
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }

// Trailers come after everything else, from the same map: of an answer that passes all but ours get through, of one that
// was held back none.
func TestAccelTrailers(t *testing.T) {
	a, _ := plainAccel(t)
	h1, h2 := startAccel(t, a, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum, X-Accel-Redirect")
		w.Header().Add("Trailer", "X-Sendfile")
		if r.URL.Path == "/file" {
			w.Header().Set("X-Accel-Redirect", "/f/x")
		}
		fmt.Fprint(w, "body")
		w.Header().Set("X-Sum", "1")
		w.Header().Set("X-Accel-Redirect", "/f/x")
		w.Header().Set("X-Sendfile", "/f/x")
		w.Header().Set(http.TrailerPrefix+"X-More", "2")
		w.Header().Set(http.TrailerPrefix+"X-Accel-Expires", "2")
	})
	for _, server := range []*httptest.Server{h1, h2} {
		for path, want := range map[string]http.Header{"/": {"X-Sum": {"1"}, "X-More": {"2"}}, "/file": nil} {
			resp, err := server.Client().Get(server.URL + path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(resp.Body); err != nil {
				t.Error(err)
			}
			resp.Body.Close()
			if fmt.Sprint(resp.Trailer) != fmt.Sprint(want) {
				t.Errorf("%s: trailers %v, headers %v", path, resp.Trailer, resp.Header)
			}
		}
	}
}

// Who takes the connection over has it for himself.
func TestAccelHijack(t *testing.T) {
	a, _ := plainAccel(t)
	h1, _ := startAccel(t, a, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Accel-Redirect", "/f/x")
		if r.URL.Path == "/switch" {
			w.Header().Set("Upgrade", "echo")
			w.Header().Set("Connection", "Upgrade")
			w.WriteHeader(http.StatusSwitchingProtocols)
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		if r.URL.Path != "/switch" {
			fmt.Fprint(rw, "HTTP/1.1 101 By Hand\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
		}
		rw.Flush()
		line, _ := rw.ReadString('\n')
		fmt.Fprint(rw, line)
		rw.Flush()
	})
	for _, path := range []string{"/switch", "/"} {
		conn, err := net.Dial("tcp", h1.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n", path)
		r := bufio.NewReader(conn)
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != 101 || resp.Header.Get("X-Accel-Redirect") != "" {
			t.Fatalf("%s: %v %v", path, resp, err)
		}
		fmt.Fprint(conn, "hello\n")
		if line, err := r.ReadString('\n'); line != "hello\n" || err != nil {
			t.Errorf("%s: %q %v", path, line, err)
		}
	}
}

// fromReader is a writer that can read by itself, as net/http's can.
type fromReader struct {
	*httptest.ResponseRecorder
	reads int
}

func (w *fromReader) ReadFrom(r io.Reader) (int64, error) {
	w.reads++
	return io.Copy(w.ResponseRecorder, r)
}

func TestAccelReadFrom(t *testing.T) {
	w := &fromReader{ResponseRecorder: httptest.NewRecorder()}
	answer := &accelWriter{ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
	answer.Header().Set("X-Accel-Expires", "1")
	if n, err := io.Copy(answer, io.LimitReader(strings.NewReader("body"), 4)); n != 4 || err != nil || w.reads != 1 {
		t.Errorf("%d %v, %d reads", n, err, w.reads)
	}
	if w.Body.String() != "body" || w.Header().Get("X-Accel-Expires") != "" {
		t.Errorf("%q %v", w.Body, w.Header())
	}
}

// An error of the handler behind is the answer: Caddy's error routes write it, with the headers as they are by then.
func TestAccelPassesErrors(t *testing.T) {
	a, _ := plainAccel(t)
	boom := errors.New("boom")
	for _, begun := range []bool{true, false} {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
		r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, &caddyhttp.Server{})
		err := a.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("X-Accel-Redirect", "/f/x")
			if begun {
				w.WriteHeader(http.StatusOK)
			}
			return boom
		}))
		if !errors.Is(err, boom) || w.Header().Get("X-Accel-Redirect") != "" || w.Body.Len() > 0 {
			t.Errorf("%v %v", err, w.Header())
		}
	}
}

// A file that becomes shorter while it is sent breaks the connection, in HTTP/2 too, where nobody compares lengths.
func TestAccelFileShrinks(t *testing.T) {
	a, root := plainAccel(t)
	path := filepath.Join(root, "big")
	if err := os.WriteFile(path, make([]byte, 64<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	h1, h2 := startAccel(t, a, func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-Accel-Redirect", "/f/big") })
	for _, server := range []*httptest.Server{h1, h2} {
		if err := os.Truncate(path, 64<<20); err != nil {
			t.Fatal(err)
		}
		resp, err := server.Client().Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, 32<<20); err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err == nil || n > 33<<20 {
			t.Errorf("HTTP/%d: %d bytes, %v", resp.ProtoMajor, n, err)
		}
	}
}

func TestAccelHeaderNames(t *testing.T) {
	for name, want := range map[string]bool{
		"X-Accel-Redirect": true, "x-accel-redirect": true, "X_Accel_Redirect": true, "X-Accel-Anything": true, "X-Accel-": true,
		"X-Sendfile": true, "X-SENDFILE": true, "X_Sendfile": true, "X-Sendfile-Type": true,
		"X-Accel": false, "X-Send": false, "X-Forwarded-For": false, "Accept": false, "": false, "X-Frame-Options": false,
	} {
		if isAccel(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

// BenchmarkAccelPasses measures what the handler costs the answers that name no file: all the traffic of a site.
func BenchmarkAccelPasses(b *testing.B) {
	a, _ := plainAccel(b)
	body := []byte("hello")
	app := caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		h := w.Header()
		for _, name := range []string{"Content-Type", "Content-Length", "Date", "Server", "Vary", "Cache-Control", "ETag",
			"X-Frame-Options", "X-Content-Type-Options", "Strict-Transport-Security"} {
			h[name] = []string{"x"}
		}
		w.WriteHeader(http.StatusOK)
		_, err := w.Write(body)
		return err
	})
	r := httptest.NewRequest("GET", "/", nil)
	for _, name := range []string{"Accept", "Accept-Encoding", "Accept-Language", "Cookie", "Referer", "User-Agent", "Sec-Fetch-Site", "Sec-Fetch-Mode",
		"Sec-Fetch-Dest", "X-Forwarded-For", "If-None-Match"} {
		r.Header[http.CanonicalHeaderKey(name)] = []string{"x"}
	}
	w := &blackHole{header: http.Header{}}
	for name, serve := range map[string]func() error{
		"without": func() error { return app(w, r) },
		"with":    func() error { return a.ServeHTTP(w, r, app) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				if err := serve(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// blackHole is a writer that does nothing.
type blackHole struct{ header http.Header }

func (w *blackHole) Header() http.Header         { return w.header }
func (w *blackHole) WriteHeader(int)             {}
func (w *blackHole) Write(p []byte) (int, error) { return len(p), nil }
