package handler

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Only so many archives and compressed files are made at a time; what is sent as it is stored is not among them.
func TestDownloadsMadeAtATime(t *testing.T) {
	env := newEnv(t)
	env.DB.Set(noise(3 << 20))
	snap := env.Backed(t, "shop")
	api := &API{Service: adminAPI(env.Service).Service, Caller: func(*http.Request) Caller { return Caller{Name: "otto", Role: Operator} }}
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	at := server.URL + "/snapshots/" + snap.ID + "/files/shop"
	get(t, "", at+"/db.sql", "Range", "bytes=0-1") // there is a limit from the first request on
	for range maxMaking {
		if _, err := api.making.enter(); err != nil {
			t.Fatal(err)
		}
	}
	for _, busy := range []string{"?format=zip", "/db.sql?format=gz"} {
		if a := get(t, "", at+busy); a.status != 503 || !strings.Contains(a.body, `"code":"busy"`) {
			t.Errorf("%s: %d %.100s", busy, a.status, a.body)
		}
	}
	for _, free := range []string{"/db.sql", "/db.sql?format=zst"} {
		if a := get(t, "", at+free); a.status != 200 {
			t.Errorf("%s: %d %.100s", free, a.status, a.body)
		}
	}
	<-api.making
	for range 2 { // each leaves again
		if a := get(t, "", at+"?format=zip"); a.status != 200 {
			t.Errorf("%d %.100s", a.status, a.body)
		}
	}
}

// A client that reads nothing is waited for only so long; one that reads gets what is answered next, too.
func TestImpatient(t *testing.T) {
	ended := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wait, size := time.Minute, 100
		if r.URL.Path == "/stalls" {
			wait, size = 50*time.Millisecond, 64<<20
		}
		out := newImpatient(w, wait)
		_, err := out.Write(make([]byte, size))
		ended <- err
	}))
	t.Cleanup(server.Close)
	resp, err := http.Get(server.URL + "/stalls")
	if err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, errSlow) {
		t.Errorf("stalled: %v", err)
	}
	resp.Body.Close()
	for range 2 {
		if a := get(t, "", server.URL); len(a.body) != 100 || <-ended != nil {
			t.Errorf("%+v", a)
		}
	}
}

// Ranges in units that nobody knows mean the whole.
func TestRangesOfUnknownUnits(t *testing.T) {
	_, data, address := downloads(t)
	for _, unit := range []string{"items=0-3", "Bytes=0-3", "0-3"} {
		if a := get(t, "otto", address+"db.sql", "Range", unit); a.status != 200 || a.body != data {
			t.Errorf("%s: status %d, %d bytes", unit, a.status, len(a.body))
		}
	}
	if a := get(t, "otto", address+"db.sql", "Range", "bytes=x"); a.status != 416 {
		t.Errorf("status %d", a.status)
	}
}
