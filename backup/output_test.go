package backup_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
)

// TestOutput: what a program said is kept with its run, and told to those only whose job says so.
func TestOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const said = "COPY customers: row canary\nsecond line"
		var plain, asked inbox
		var observed []backup.Ending
		e := backuptest.New(t, told(&plain, backup.EventFailure), func(c *backup.Config) {
			c.Notifiers = append(c.Notifiers, backup.NamedNotifier{Name: "asked", Notifier: &asked})
			c.Jobs[0].Notify = append(c.Jobs[0].Notify, backup.Subscription{Notifiers: []string{"asked"}, Output: true})
			c.Observe = func(e backup.Ending) { observed = append(observed, e) }
		})
		e.DB.Fail(fmt.Errorf("dump of database shop: %w", backup.WithOutput(errors.New("sh ended with status 3"), said)))
		run := e.RunBackup(t, "shop")
		synctest.Wait()

		if run = must(e.Run(t.Context(), run.ID))(t); run.Output != said || run.Error != "db.sql (source db): dump of database shop: sh ended with status 3" {
			t.Errorf("the run has the error %q and the output %q", run.Error, run.Output)
		}
		if n := asked.list[0]; n.Output != said || !strings.Contains(n.Text, "\n  COPY customers: row canary\n  second line\n") {
			t.Errorf("who asked for it was told %+v", n)
		}
		if n := plain.list[0]; !strings.Contains(n.Text, "what the program said is kept with the run") {
			t.Errorf("the text does not say where to look:\n%s", n.Text)
		}
		for where, what := range map[string]any{
			"a notification": plain.list, "health": e.Health(t.Context()), "the list of jobs": must(e.Jobs(t.Context()))(t),
			"the list of runs": must(e.Runs(t.Context(), backup.RunFilter{}))(t),
		} {
			if text := must(json.Marshal(what))(t); strings.Contains(string(text), "canary") {
				t.Errorf("%s holds what the program said: %s", where, text)
			}
		}
		if len(observed) != 1 || strings.Contains(observed[0].Run.Error, "canary") {
			t.Errorf("observed %+v", observed)
		}
	})
}

// TestOutputBounded: the end is what is kept, and a notification has less of it.
func TestOutputBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var box inbox
		e := backuptest.New(t, told(&box), func(c *backup.Config) { c.Jobs[0].Notify[0].Output = true })
		e.DB.Fail(backup.WithOutput(errors.New("failed"), strings.Repeat("ä", 100_000)+"end"))
		run := must(e.Run(t.Context(), e.RunBackup(t, "shop").ID))(t)
		synctest.Wait()
		for what, c := range map[string]struct {
			text string
			most int
		}{"a run": {run.Output, 4200}, "a notification": {box.list[0].Output, 2200}} {
			if !strings.HasPrefix(c.text, "… ä") || !strings.HasSuffix(c.text, "äend") || len(c.text) > c.most {
				t.Errorf("%s has %d bytes of output: %.20q", what, len(c.text), c.text)
			}
		}
	})
}

// TestOutputOf: it is found through whatever is wrapped around it.
func TestOutputOf(t *testing.T) {
	inner := backup.WithOutput(errors.New("cause"), "words")
	for err, want := range map[error]string{
		nil: "", errors.New("cause"): "", inner: "words", fmt.Errorf("a: %w", fmt.Errorf("%w: %w", errors.New("first"), inner)): "words",
		backup.WithOutput(errors.New("cause"), ""): "",
	} {
		if got := backup.OutputOf(err); got != want {
			t.Errorf("of %v it is %q, want %q", err, got, want)
		}
	}
	if backup.WithOutput(nil, "words") != nil {
		t.Error("no error became one")
	}
}
