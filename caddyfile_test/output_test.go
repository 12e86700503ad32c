package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
)

// TestOutputStays: what a failing program says on standard error may be rows and passwords. It stays with the run, and goes to
// a notifier only where the job says `with output`: not to others, nor into Caddy's events, health, or lists.
func TestOutputStays(t *testing.T) {
	const row = "row-canary-7f31"
	w := newWorld(t)
	plain, plainly := newHook(t)
	asked, askedFor := newHook(t)
	ping, pinged := newHook(t)
	config := w.config(fmt.Sprintf(`
		notifier plain webhook %s
		notifier asked webhook %s
		notifier watch healthchecks %s
		job leaky {
			source out command sh -c "echo half; echo 'duplicate key: %s' >&2; exit 3"
			notify plain
			notify asked on failure with output
			notify watch on failure
		}
`, plain.URL, asked.URL, ping.URL, row), "")
	w.begin("{\n\tevents {\n\t\ton backup_failed test_list\n\t}\n" + config[2:])
	run := w.run("leaky", backup.StateFailed)
	if run.Output != "duplicate key: "+row || !strings.HasSuffix(run.Error, "sh ended with status 3") {
		t.Errorf("the run has the error %q and the output %q", run.Error, run.Output)
	}
	told := func(m mail) (n backup.Notification) {
		if err := json.Unmarshal([]byte(m.body), &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := told(next(t, askedFor)); n.Output != run.Output || !strings.Contains(n.Text, row) {
		t.Errorf("who asked for it was told %+v", n)
	}
	for where, text := range map[string]string{
		"a notification": next(t, plainly).body, "a ping": next(t, pinged).body, "an event": fmt.Sprint(awaitEvent(t, run.ID).Data),
		"health":          body(t, "GET", inProcess+"/backup/health", "", http.StatusServiceUnavailable),
		"a list of jobs":  body(t, "GET", inProcess+"/backup/jobs", "", http.StatusOK),
		"a list of runs":  body(t, "GET", inProcess+"/backup/runs", "", http.StatusOK),
		"a job":           body(t, "GET", inProcess+"/backup/jobs/leaky", "", http.StatusOK),
		"the metrics":     body(t, "GET", inProcess+"/metrics", "", http.StatusOK),
		"the error of it": run.Error,
	} {
		if strings.Contains(text, row) {
			t.Errorf("%s holds what the program said: %s", where, text)
		}
	}
}
