package handler

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
)

// listen opens the events of a run.
func listen(t *testing.T, base, id string) *http.Response {
	t.Helper()
	resp, err := http.Get(base + "/runs/" + id + "/events")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || kind != "text/event-stream" ||
		!strings.Contains(resp.Header.Get("Cache-Control"), "no-transform") {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	return resp
}

// nextRun reads the next event.
func nextRun(t *testing.T, r *bufio.Reader) backup.Run {
	t.Helper()
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			var run backup.Run
			if err := json.Unmarshal([]byte(data), &run); err != nil {
				t.Fatalf("%q: %v", data, err)
			}
			return run
		}
	}
}

func TestEvents(t *testing.T) {
	env := newEnv(t)
	defer noLeaks(t)()
	stopping := make(chan struct{})
	api := adminAPI(env.Service)
	api.Stopping = stopping
	server := httptest.NewServer(api)
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	entered, release := env.DB.Hold("data")
	defer release()
	run, err := env.Backup(t.Context(), "tester", "shop")
	if err != nil {
		t.Fatal(err)
	}
	<-entered

	gone := listen(t, server.URL, run.ID) // this client goes away: the goroutines must end
	nextRun(t, bufio.NewReader(gone.Body))
	gone.Body.Close()

	whole := bufio.NewReader(listen(t, server.URL, run.ID).Body)
	if first := nextRun(t, whole); first.ID != run.ID || first.State.Done() {
		t.Errorf("first event: %+v", first)
	}
	release()
	for {
		last := nextRun(t, whole)
		if last.State.Done() {
			if last.State != backup.StateOK {
				t.Errorf("last event: %+v", last)
			}
			break
		}
	}
	if rest, err := io.ReadAll(whole); strings.TrimSpace(string(rest)) != "" || err != nil {
		t.Errorf("after the last event: %q, %v", rest, err)
	}

	entered, release = env.DB.Hold("other data")
	if run, err = env.Backup(t.Context(), "tester", "shop"); err != nil {
		t.Fatal(err)
	}
	<-entered
	stopped := bufio.NewReader(listen(t, server.URL, run.ID).Body)
	nextRun(t, stopped)
	close(stopping)
	if _, err := io.ReadAll(stopped); err != nil {
		t.Errorf("at shutdown the stream ends: %v", err)
	}
	release()
	env.Wait(t, run.ID)
}

func TestEventsOfNoRun(t *testing.T) {
	server := httptest.NewServer(adminAPI(newEnv(t).Service))
	defer server.Close()
	if a := get(t, "", server.URL+"/runs/nosuch/events"); a.status != 404 || a.code() != "not_found" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// A configuration that goes, and a server that shuts down, end the streams of the handler.
func TestEventsEndWithTheHandler(t *testing.T) {
	env := newEnv(t)
	entered, release := env.DB.Hold("data")
	defer release()
	run, err := env.Backup(t.Context(), "tester", "shop")
	if err != nil {
		t.Fatal(err)
	}
	<-entered
	h, _, err := provision(t, env.Service, `{"insecure_no_auth": true}`)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(site(h, ""))
	defer server.Close()
	stream := bufio.NewReader(listen(t, server.URL+"/api", run.ID).Body)
	nextRun(t, stream)
	if err := h.Cleanup(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(stream); err != nil {
		t.Error(err)
	}
}
