package notify_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/notify"
)

// canary is a secret that must be in no error.
const canary = "canary-93ab-token"

var failed = backup.Notification{
	ID: "run-1-failure", Event: backup.EventFailure, Title: "backup of shop FAILED", Text: "The backup of shop FAILED.\n\nReason: gone\n",
	Job: "shop", Run: "run-1", State: backup.StateFailed, Error: "gone",
}

// site is a real web server that keeps what it is sent and answers as told, in turn; the last answer stays.
type site struct {
	*httptest.Server
	mu      sync.Mutex
	got     []*http.Request
	bodies  []string
	answers []http.HandlerFunc
}

func newSite(t *testing.T, answers ...http.HandlerFunc) *site {
	s := &site{answers: answers}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.got, s.bodies = append(s.got, r), append(s.bodies, string(body))
	var answer http.HandlerFunc
	if len(s.answers) > 0 {
		if answer = s.answers[0]; len(s.answers) > 1 {
			s.answers = s.answers[1:]
		}
	}
	s.mu.Unlock()
	if answer != nil {
		answer(w, r)
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(code) }
}

func provision[N caddy.Provisioner](t *testing.T, n N) N {
	t.Helper()
	if err := n.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestWebhook verifies the signature as a receiver does.
func TestWebhook(t *testing.T) {
	t.Setenv("HOOK_SECRET", canary)
	s := newSite(t)
	w := provision(t, &notify.Webhook{URL: s.URL + "/hook?token=" + canary, Secret: "{env.HOOK_SECRET}", Headers: map[string]string{"authorization": "Bearer {env.HOOK_SECRET}"}})
	if err := w.Deliver(t.Context(), failed); err != nil {
		t.Fatal(err)
	}
	r, body := s.got[0], s.bodies[0]
	var n backup.Notification
	if err := json.Unmarshal([]byte(body), &n); err != nil || !reflect.DeepEqual(n, failed) {
		t.Errorf("%v: got %s", err, body)
	}
	if r.Method != "POST" || r.URL.Path != "/hook" || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Backup-Event") != "failure" ||
		r.Header.Get("Authorization") != "Bearer "+canary || r.Header.Get("Backup-Delivery") != "run-1-failure" {
		t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
	}
	stamp, mac, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Backup-Signature"), "t="), ",v1=")
	at, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || time.Since(time.Unix(at, 0)).Abs() > time.Minute {
		t.Errorf("signed at %q", stamp)
	}
	want := hmac.New(sha256.New, []byte(canary))
	want.Write([]byte(stamp + "." + body))
	if mac != hex.EncodeToString(want.Sum(nil)) {
		t.Errorf("signature %s", r.Header.Get("Backup-Signature"))
	}
	if strings.Contains(body, canary) {
		t.Error("the secret is in the body")
	}
}

// TestHealthchecks: start, success and failure with its reason go to the addresses that the service has for them.
func TestHealthchecks(t *testing.T) {
	const repository, late = "of a repository, which is well again", "that comes late"
	s := newSite(t)
	h := provision(t, &notify.Healthchecks{URL: s.URL + "/ping/" + canary + "?create=1"})
	for _, c := range []struct {
		event backup.Event
		path  string
	}{
		{backup.EventStart, "/start"}, {backup.EventSuccess, ""}, {backup.EventRecovered, ""}, {backup.EventFailure, "/fail"}, {backup.EventSuspect, "/fail"},
		{backup.EventTest, "/log"}, {repository, "/log"}, {late, "/log"},
	} {
		n := failed
		switch n.Event = c.event; c.event {
		case repository:
			n.Event, n.Run = backup.EventRecovered, ""
		case late:
			n.Event, n.Queued = backup.EventSuccess, time.Now().Add(-3*time.Hour)
		default:
			n.Queued = time.Now().Add(-time.Hour)
		}
		if err := h.Deliver(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		r, body := s.got[len(s.got)-1], s.bodies[len(s.bodies)-1]
		if r.Method != "POST" || r.URL.Path != "/ping/"+canary+c.path || r.URL.RawQuery != "create=1" || body != n.Text {
			t.Errorf("%s: %s %s: %s", c.event, r.Method, r.URL, body)
		}
	}
	if events := h.Events(); len(events) != 4 || events[0] != backup.EventStart {
		t.Errorf("by default it wants %v", events)
	}
}

// TestBadAnswers: only 2xx takes a notification, redirects are not followed, and no error shows a secret.
func TestBadAnswers(t *testing.T) {
	elsewhere := newSite(t)
	raw := func(answer string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				io.WriteString(conn, answer)
				conn.Close()
			}
		}
	}
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		want   string // of the error; empty = taken
	}{
		{"200", status(200), ""},
		{"204", status(204), ""},
		{"500", status(500), "answers 500 Internal Server Error"},
		{"404", status(404), "answers 404 Not Found"},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, "answers 307, a redirect"},
		{"nonsense", raw("what do you want?\r\n\r\n"), "malformed HTTP"},
		{"nothing", raw(""), "EOF"},
		{"endless", func(w http.ResponseWriter, r *http.Request) {
			for range 1 << 12 {
				if _, err := w.Write(make([]byte, 1<<12)); err != nil {
					return
				}
			}
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, c.answer)
			for _, n := range []backup.Notifier{
				provision(t, &notify.Webhook{URL: s.URL + "/" + canary, Secret: canary}),
				provision(t, &notify.Healthchecks{URL: s.URL + "/" + canary}),
			} {
				err := n.Deliver(t.Context(), failed)
				if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("%T: got %v, want %q", n, err, c.want)
				}
				if err != nil && strings.Contains(err.Error(), canary) {
					t.Errorf("%T: the error shows a secret: %v", n, err)
				}
			}
		})
	}
	if len(elsewhere.got) > 0 {
		t.Error("a redirect was followed")
	}
}

// TestDeadAndSlow: nobody listens, or nobody answers.
func TestDeadAndSlow(t *testing.T) {
	release := make(chan struct{})
	slow := newSite(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	for _, to := range []string{slow.URL, "http://" + closedAddress(t)} {
		w := provision(t, &notify.Webhook{URL: to + "/" + canary})
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if err := w.Deliver(ctx, failed); err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", to, err)
		}
	}
}

// TestBadAddresses: errors of the configuration do not show an address, for its token.
func TestBadAddresses(t *testing.T) {
	t.Setenv("HOOK_UNSET", "")
	for _, c := range []struct{ url, want string }{
		{"", "bad url value"}, {"hooks.example.com/" + canary, "bad url value"}, {"ftp://example.com/" + canary, "bad url value"},
		{"https://exa mple.com/" + canary, "bad url value"}, {"{env.HOOK_UNSET}", "{env.HOOK_UNSET} is empty; set the variable"},
	} {
		for _, n := range []caddy.Provisioner{&notify.Webhook{URL: c.url}, &notify.Healthchecks{URL: c.url}} {
			err := n.Provision(caddy.Context{})
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), canary) {
				t.Errorf("%T %q: %v", n, c.url, err)
			}
		}
	}
}
