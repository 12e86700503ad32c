package handler

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// inner asks a handler through InProcess.
func inner(t *testing.T, method, body string, h http.HandlerFunc) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://x/some/path?q=1", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return (&http.Client{Transport: InProcess(h)}).Do(req)
}

func TestInProcess(t *testing.T) {
	defer noLeaks(t)()
	resp, err := inner(t, "POST", "hello", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Seen", r.Method+" "+r.URL.Path+" "+r.RequestURI+" "+r.Host+" "+string(body))
		w.WriteHeader(http.StatusEarlyHints) // goes by
		w.WriteHeader(http.StatusTeapot)
		w.Header().Set("X-Late", "1")
		_, _ = io.WriteString(w, "tea")
	})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "tea" || resp.StatusCode != 418 || resp.Header.Get("X-Late") != "" ||
		resp.Header.Get("X-Seen") != "POST /some/path /some/path?q=1 x hello" {
		t.Errorf("%d %q %v %v", resp.StatusCode, body, resp.Header, err)
	}
}

// However a handler fails, the reader hears of it.
func TestInProcessFailures(t *testing.T) {
	defer noLeaks(t)()
	for name, h := range map[string]http.HandlerFunc{
		"abort before anything": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"panic before anything": func(http.ResponseWriter, *http.Request) { panic("oh") },
		"abort in the middle": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half")
			panic(http.ErrAbortHandler)
		},
		"less than promised": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "half")
		},
	} {
		resp, err := inner(t, "GET", "", h)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	resp, err := inner(t, "HEAD", "", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "10") })
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err != nil || resp.ContentLength != 10 {
		t.Errorf("HEAD: %d, %v", resp.ContentLength, err)
	}
}

// A client that goes away ends the handler's context, before the answer and in its middle.
func TestInProcessClientGoesAway(t *testing.T) {
	defer noLeaks(t)()
	ended := make(chan error, 1)
	resp, err := inner(t, "GET", "", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		_, err := io.WriteString(w, "to nobody")
		ended <- err
	})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if err := <-ended; !errors.Is(err, errBodyClosed) {
		t.Errorf("writing to nobody: %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	defer close(release)
	req, _ := http.NewRequestWithContext(ctx, "GET", "http://x/", nil)
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
		<-release // too late for an answer
	})
	if _, err := InProcess(h).RoundTrip(req); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
