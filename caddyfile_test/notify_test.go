package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
)

// mail is what a web server was sent.
type mail struct {
	*http.Request
	body string
}

// newHook is a real web server that hands on what it is sent.
func newHook(t *testing.T) (*httptest.Server, <-chan mail) {
	got := make(chan mail, 100)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- mail{r, string(body)}
	}))
	t.Cleanup(s.Close)
	return s, got
}

func next(t *testing.T, from <-chan mail) mail {
	t.Helper()
	select {
	case m := <-from:
		return m
	case <-time.After(patience):
		t.Fatal("nothing was sent")
		return mail{}
	}
}

// TestNotifications: a job that fails and works again, told to a webhook and to a dead man's switch, beside a notifier that
// is dead.
func TestNotifications(t *testing.T) {
	w := newWorld(t)
	hook, hooked := newHook(t)
	ping, pinged := newHook(t)
	w.begin(w.config(fmt.Sprintf(`
		public_url https://backups.example.com
		notifier hook webhook %[1]s/hook {
			secret {file.%[3]s/secret}
		}
		notifier watch healthchecks %[2]s/{file.%[3]s/secret}
		notifier dead webhook http://%[4]s/{file.%[3]s/secret}
		job moody {
			source out command sh -c "echo data; test ! -e %[3]s/broken"
			notify dead hook
			notify watch
		}
`, hook.URL, ping.URL, w.dir, freeAddress(t)), ""))

	wantPing := func(end string) {
		t.Helper()
		for _, end := range []string{"/start", end} {
			if m := next(t, pinged); m.URL.Path != "/"+canary+end {
				t.Errorf("pinged %s, want …%s", m.URL.Path, end)
			}
		}
	}
	wantHook := func(event backup.Event, run backup.Run) {
		t.Helper()
		m := next(t, hooked)
		var n backup.Notification
		if err := json.Unmarshal([]byte(m.body), &n); err != nil {
			t.Fatal(err)
		}
		if n.Event != event || n.Job != "moody" || n.Run != run.ID || n.Link != "https://backups.example.com/runs/"+run.ID || n.Error != run.Error {
			t.Errorf("told %+v, want %s of run %s", n, event, run.ID)
		}
		if m.Header.Get("Backup-Signature") == "" || strings.Contains(m.body, canary) {
			t.Errorf("signature %q, body %s", m.Header.Get("Backup-Signature"), m.body)
		}
	}
	w.run("moody", backup.StateOK)
	wantPing("")
	w.write("broken", "")
	failed := w.run("moody", backup.StateFailed)
	wantPing("/fail")
	wantHook(backup.EventFailure, failed)

	deadline := time.Now().Add(patience)
	for {
		all, err := admin.Notifiers(w.Context())
		if err != nil {
			t.Fatal(err)
		}
		if d := all[0]; d.Name == "dead" && d.Waiting == 1 && strings.Contains(d.Error, "connection refused") && !strings.Contains(d.Error, canary) {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the dead notifier is not shown: %+v", all)
		}
		time.Sleep(20 * time.Millisecond)
	}
	for _, want := range []string{`caddy_backup_notifier_failing{notifier="dead"} 1`, `caddy_backup_notifier_waiting{notifier="dead"} 1`,
		`caddy_backup_notifier_failing{notifier="hook"} 0`} {
		if !strings.Contains(body(t, "GET", inProcess+"/metrics", "", http.StatusOK), want+"\n") {
			t.Errorf("the metrics do not have %s", want)
		}
	}
	if len(hooked) != 0 {
		t.Errorf("told more than once: %s", next(t, hooked).body)
	}
	w.write("release", "") // nothing waits for it; the folder may be removed
	shown := body(t, "GET", inProcess+"/backup/notifiers", "", http.StatusOK) + body(t, "GET", inProcess+"/backup/runs/"+failed.ID, "", http.StatusOK)
	if strings.Contains(shown, canary) {
		t.Error("the API shows a secret")
	}
}

// TestNotifyNobody: a job cannot name a notifier that is not there.
func TestNotifyNobody(t *testing.T) {
	w := newWorld(t)
	w.begin(w.config("", ""))
	err := w.load(w.config("job lost {\n\tsource out command true\n\tnotify ops\n}", ""))
	if err == nil || !strings.Contains(err.Error(), "job lost: there is no notifier ops: add it") {
		t.Errorf("got %v", err)
	}
}
