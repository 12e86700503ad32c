package dump

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/backup/backuptest"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
)

// TestDjangoContract holds the source to what every source promises.
func TestDjangoContract(t *testing.T) {
	s := newDjangoSite(t).fill()
	d := s.source("apps shop auth.User\nnatural_keys\nformat xml") // of which every byte matters
	dumptest.Run(t, dumptest.Kit{
		Source: d, Name: "db", Secrets: []string{djangoSecret},
		NewPlace: func(t testing.TB) string { return filepath.Join(t.TempDir(), "new.sqlite3") },
		Exists: func(t testing.TB, place string) bool {
			left, err := os.ReadDir(filepath.Dir(place))
			if err != nil {
				t.Fatal(err)
			}
			return len(left) > 0
		},
		Equal: func(t testing.TB, place string) {
			if n := sqliteValue(t, place, "SELECT count(*) FROM shop_sale JOIN shop_product p ON p.id = product_id JOIN auth_user u ON u.id = buyer_id"); n != int64(60) {
				t.Errorf("%v sales came back", n)
			}
		},
	})
}

// fakePython is an interpreter that does as the file "mode" beside it says.
const fakePython = `#!/bin/sh
case $(cat "$(dirname "$0")/mode") in
no-django) exec /usr/bin/python3 -I -S "$@" ;;
not-python) exit 0 ;;
import) export SITE_DB=nonsense ;;
no-database) export SITE_DB='{"ENGINE": "django.db.backends.sqlite3", "NAME": "/not/here/db"}' ;;
locked) export SITE_DB='{"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3", "OPTIONS": {"timeout": 0.2}}' ;;
*)
	case "$CADDY_BACKUP" in
	*'"what":"dump"'*)
		case $(cat "$(dirname "$0")/mode") in
		exits) echo '[{"model": "shop.tag"}'; echo canary-of-a-row; exit 1 ;;
		whole-but-exits) echo '[{"model": "shop.tag"}]'; exit 1 ;;
		hangs) trap '' TERM; echo '['; while :; do sleep 0.1; done ;;
		nothing) exit 0 ;;
		killed) echo '[{"model": "shop.tag"},'; kill -9 $$ ;;
		noise) echo canary-of-a-row ;;
		behind) /usr/bin/python3 "$@"; echo canary-of-a-row; exit 0 ;;
		esac ;;
	esac ;;
esac
exec /usr/bin/python3 "$@"
`

// TestDjangoFaults has dumps fail in every way: there is no snapshot, one notification, and nothing left; and the next run is green.
func TestDjangoFaults(t *testing.T) {
	dumptest.NothingLeft(t)
	s := newDjangoSite(t).fill()
	dir := t.TempDir()
	python, mode := filepath.Join(dir, "python"), filepath.Join(dir, "mode")
	if err := os.WriteFile(python, []byte(fakePython), 0o755); err != nil {
		t.Fatal(err)
	}
	to := new(post)
	e := backuptest.New(t, func(c *backup.Config) {
		c.Notifiers = []backup.NamedNotifier{{Name: "ops", Kind: "post", Notifier: to}}
		c.Jobs[0].Notify = []backup.Subscription{{Notifiers: []string{"ops"}}}
		c.Jobs[0].Sources = []backup.NamedSource{{Name: "db", Kind: "django", Source: s.source("python " + python)}}
	})
	for _, tc := range []struct{ mode, want string }{
		{"no-django", "Django"}, {"not-python", "has not answered"}, {"import", "ended with status 1"}, {"no-database", "ended with status 1"},
		{"locked", "ended with status 1"}, {"exits", "dumpdata of"}, {"whole-but-exits", "ended with status 1"},
		{"nothing", "cut off"}, {"killed", "killed by signal 9"}, {"noise", "prints something else"}, {"behind", "prints something else"},
	} {
		t.Run(tc.mode, func(t *testing.T) {
			if err := os.WriteFile(mode, []byte(tc.mode), 0o644); err != nil {
				t.Fatal(err)
			}
			unlock := func() string { return "" }
			if tc.mode == "locked" {
				unlock = copyOfUs(t, "lock", filepath.Join(s.dir, "db.sqlite3"))
			}
			run := e.RunBackup(t, "shop")
			unlock()
			if run.State != backup.StateFailed || run.Snapshot != "" || !strings.Contains(run.Error, tc.want) || strings.Contains(run.Error, "canary") {
				t.Errorf("%s, snapshot %q: %s", run.State, run.Snapshot, run.Error)
			}
			if list, err := e.Snapshots(t.Context(), backup.SnapshotQuery{}); err != nil || list.Total != 0 {
				t.Errorf("%+v, %v", list, err)
			}
			wantOne(t, to, backup.EventFailure)
			dumptest.Gone(t, s.dir)
		})
	}
	t.Run("hangs", func(t *testing.T) {
		if err := os.WriteFile(mode, []byte("hangs"), 0o644); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		begun := writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil })
		if _, err := s.in(t).source("python "+python).Dump(ctx, firstPartNamed("db.json"), begun, dumptest.Task(t)); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		dumptest.Gone(t, s.dir)
	})
	if err := os.WriteFile(mode, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	e.Backed(t, "shop")
	wantOne(t, to, backup.EventRecovered)
}

// wantOne waits for the only notification, in which there is nothing of the rows.
func wantOne(t *testing.T, to *post, event backup.Event) {
	t.Helper()
	got := to.wait()
	text, _ := json.Marshal(got)
	if len(got) != 1 || got[0].Event != event || bytes.Contains(text, []byte("canary")) {
		t.Errorf("%s", text)
	}
}
