package backup_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
)

// fieldsOf are the names of the fields of a JSON object, in their order.
func fieldsOf(t *testing.T, line string) (names []string) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(line))
	must(d.Token())(t) // {
	for d.More() {
		names = append(names, must(d.Token())(t).(string))
		var value any
		if err := d.Decode(&value); err != nil {
			t.Fatal(err)
		}
	}
	return names
}

// TestRunLogFields: every line of a run names it, no field is there twice, and the line of its end has what machines want.
func TestRunLogFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		e := backuptest.New(t, keeping(backup.Retention{Last: 1, Manual: true}), func(c *backup.Config) { c.Logger = slog.New(slog.NewJSONHandler(&log, nil)) })
		e.Backed(t, "shop")
		e.DB.Set("changed")
		e.Backed(t, "shop")
		forget(t, e, backup.ForgetRequest{})
		e.DB.Fail(errors.New("gone"))
		e.RunBackup(t, "shop")
		e.Wait(t, must(e.Check(t.Context(), "tester", backup.CheckRequest{}))(t).ID)
		e.Wait(t, must(e.Prune(t.Context(), "tester", backup.PruneRequest{}))(t).ID)
		synctest.Wait()

		wanted := map[string]string{
			"backup ended well": "run kind repository job state bytes_read bytes_new bytes_stored snapshot took summary",
			"backup failed":     "run kind repository job state bytes_read bytes_new bytes_stored took error",
			"forget ended well": "run kind repository job state bytes took summary",
			"check ended well":  "run kind repository state bytes took summary",
			"prune ended well":  "run kind repository state bytes took summary",
			"part dumped":       "run kind repository job part source bytes checked",
			"snapshot stored":   "run kind repository job snapshot unchanged",
			"snapshot deleted":  "run kind repository job snapshot made path",
		}
		found := map[string]bool{}
		for line := range strings.Lines(log.String()) {
			names, seen := fieldsOf(t, line), map[string]bool{}
			for _, name := range names {
				if seen[name] {
					t.Errorf("the field %s stands there twice: %s", name, line)
				}
				seen[name] = true
			}
			var said struct{ Msg string }
			if err := json.Unmarshal([]byte(line), &said); err != nil {
				t.Fatal(err)
			}
			want, ok := wanted[said.Msg]
			if got := strings.Join(names[3:], " "); ok && got != want { // behind time, level and msg
				t.Errorf("%q has the fields %s\nwant %s", said.Msg, got, want)
			}
			found[said.Msg] = true
		}
		for msg := range wanted {
			if !found[msg] {
				t.Errorf("nothing logged %q", msg)
			}
		}
	})
}
