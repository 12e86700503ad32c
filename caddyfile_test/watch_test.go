package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-backup/caddy-backup/backup"
)

// told reads the next thing that a webhook was told.
func told(t *testing.T, from <-chan mail) (n backup.Notification) {
	t.Helper()
	if err := json.Unmarshal([]byte(next(t, from).body), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestHungProgram: a program that hangs and does not care for SIGTERM is killed with its child, its run has failed and says
// why, people are told, and the next run is green.
func TestHungProgram(t *testing.T) {
	w := newWorld(t)
	hook, hooked := newHook(t)
	w.write("hang.sh", "trap '' TERM; sleep 600 & echo $$ $! >"+w.dir+"/pids; echo data; wait; sleep 600\n")
	w.begin(w.config(fmt.Sprintf(`
		notifier hook webhook %[1]s
		job stuck {
			source out command sh %[2]s/hang.sh
			stall_timeout 1s
			notify hook
		}
`, hook.URL, w.dir), ""))
	run := w.run("stuck", backup.StateFailed)
	for tries := 1; tries < 5 && strings.Contains(run.Error, "hung while ") && w.lines("pids") == 0; tries++ { // a machine with much else to do: it hung before
		told(t, hooked)
		run = w.run("stuck", backup.StateFailed)
	}
	if want := regexp.MustCompile(`hung while dumping out\.dump: nothing has moved for \d+s, since .* stall_timeout`); !want.MatchString(run.Error) {
		t.Errorf("the run says %q, want %s", run.Error, want)
	}
	text, err := os.ReadFile(filepath.Join(w.dir, "pids"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		wantGone(t, pid)
	}
	if n := told(t, hooked); n.Event != backup.EventFailure || n.Run != run.ID || !strings.Contains(n.Text, "hung while ") {
		t.Errorf("told %+v", n)
	}
	if locks, err := os.ReadDir(filepath.Join(w.dir, "repository", "locks")); err != nil || len(locks) > 0 {
		t.Errorf("%d locks are left, %v", len(locks), err)
	}
	w.run("quick", backup.StateOK)
}

// TestDamageEvents: damage that a check finds, and its end, go to people and to Caddy's events.
func TestDamageEvents(t *testing.T) {
	w := newWorld(t)
	hook, hooked := newHook(t)
	w.begin("{\n\tevents {\n\t\ton backup_damage test_list\n\t\ton backup_recovered test_list\n\t}\n" + w.config(fmt.Sprintf(`
		notifier hook webhook %s
		job blog {
			source out command echo data
			notify hook
		}
`, hook.URL), "")[2:])
	w.run("blog", backup.StateOK)
	packs, err := filepath.Glob(filepath.Join(w.dir, "repository", "data", "*", "*"))
	if err != nil || len(packs) == 0 {
		t.Fatal(err)
	}
	good, err := os.ReadFile(packs[0])
	if err != nil {
		t.Fatal(err)
	}
	check := func(content []byte, want backup.State) {
		t.Helper()
		_ = os.Chmod(packs[0], 0o600)
		if err := os.WriteFile(packs[0], content, 0o600); err != nil {
			t.Fatal(err)
		}
		run, err := admin.Check(w.Context(), backup.CheckRequest{ReadData: true})
		if err != nil {
			t.Fatal(err)
		}
		if run = finish(t, admin, run.ID); run.State != want {
			t.Fatalf("the check is %s: %s", run.State, run.Error)
		}
	}
	bad := append([]byte(nil), good...)
	bad[20] ^= 1
	check(bad, backup.StateFailed)
	if n := told(t, hooked); n.Event != backup.EventDamage || n.Repository != "default" || n.Job != "" || len(n.Reasons) != 1 {
		t.Errorf("told %+v", n)
	}
	check(good, backup.StateOK)
	if n := told(t, hooked); n.Event != backup.EventRecovered || n.Repository != "default" {
		t.Errorf("told %+v", n)
	}
	for _, name := range []string{"backup_damage", "backup_recovered"} {
		e := awaitNamed(t, name)
		if e.Data["repository"] != "default" || e.Data["job"] != "" || fmt.Sprint(e.Data["since"]) == "" {
			t.Errorf("event %s: %v", name, e.Data)
		}
	}
}

// awaitNamed waits for an event of a name.
func awaitNamed(t *testing.T, name string) caddy.Event {
	t.Helper()
	return awaitAny(t, name, func(e caddy.Event) bool { return e.Name() == name })
}
