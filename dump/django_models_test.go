package dump

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
)

// TestDjangoRouters has apps in two databases: what is in the other one is neither dumped nor touched.
func TestDjangoRouters(t *testing.T) {
	s := newDjangoSite(t, "SITE_APPS=apart", `SITE_MORE={"other": {"ENGINE": "django.db.backends.sqlite3", "NAME": "other.sqlite3"}}`, "SITE_ROUTERS=routers.Apart").fill()
	s.manage("migrate", "--database=other", "--run-syncdb", "-v0")
	s.run(`from apart.models import *; Colour.objects.create(name="red")`)
	for words, want := range map[string]string{"": "shop.sale", "database other": "apart.colour"} {
		d := s.source(words)
		stored, dump := dumped(t, d)
		if stored.Facts.Rows[want] == 0 || len(stored.Facts.Rows) > 7 {
			t.Errorf("%s: %v", words, stored.Facts.Rows)
		}
		s.run(`from apart.models import *; from shop.models import *; Colour.objects.create(name="blue"); Tag.objects.create(name="newer")`)
		if err := d.Overwrite(t.Context(), stored, bytes.NewReader(dump), backup.Over{}, dumptest.Task(t)); err != nil {
			t.Fatal(words, err, backup.OutputOf(err))
		}
		if again, _ := dumped(t, d); !maps.Equal(again.Facts.Rows, stored.Facts.Rows) {
			t.Errorf("%s: %v, was %v", words, again.Facts.Rows, stored.Facts.Rows)
		}
		if words != "" || realtest.Soak() {
			if facts, err := d.Drill(t.Context(), stored, bytes.NewReader(dump), drillPlace(t), dumptest.Task(t)); err != nil || !maps.Equal(facts.Rows, stored.Facts.Rows) {
				t.Errorf("%s: %+v, %v %s", words, facts, err, backup.OutputOf(err))
			}
		}
		s.run(`from apart.models import *; from shop.models import *; Colour.objects.filter(name="blue").delete(); Tag.objects.filter(name="newer").delete()`)
	}
}

// TestDjangoOtherModels restores what is of older or newer models than the project's: nothing is changed, and it is said why.
func TestDjangoOtherModels(t *testing.T) {
	s := newDjangoSite(t).fill()
	d := s.source("apps shop auth.User")
	stored, dump := dumped(t, d)
	was := s.state()
	older := regexp.MustCompile(`\s*"hidden": (true|false),`).ReplaceAll(dump, nil)
	for _, tc := range []struct {
		name, want string
		dump       []byte
	}{
		{"older", "the fixture does not know the field 'hidden' of shop.Product", older},
		{"newer", "Product has no field named 'cost'", bytes.ReplaceAll(dump, []byte(`"price":`), []byte(`"cost": 1, "price":`))},
		{"of a model that is gone", "Invalid model identifier: 'shop.rent'", bytes.ReplaceAll(dump, []byte(`"shop.sale"`), []byte(`"shop.rent"`))},
		{"with less rows", "shop.tag has 2 rows, the dump has 3", bytes.Replace(dump, []byte("\"shop.tag\",\n    \"pk\": 3"), []byte("\"shop.tag\",\n    \"pk\": 2"), 1)},
	} {
		if (tc.name == "newer" || tc.name == "of a model that is gone") && !realtest.Soak() {
			continue
		}
		err := d.Overwrite(t.Context(), stored, bytes.NewReader(tc.dump), backup.Over{}, dumptest.Task(t))
		if text := fmt.Sprint(err, backup.OutputOf(err)); err == nil || errors.Is(err, backup.ErrIncomplete) || !strings.Contains(text, tc.want) {
			t.Errorf("%s: %s", tc.name, text)
		}
	}
	if s.state() != was {
		t.Error("what was undone left something")
	}
	if err := d.Overwrite(t.Context(), stored, bytes.NewReader(older), backup.Over{Force: true}, dumptest.Task(t)); err != nil {
		t.Error(err, backup.OutputOf(err))
	}
	s.run(`from django.db.migrations.recorder import MigrationRecorder; MigrationRecorder.Migration.objects.filter(app="auth").last().delete()`)
	if err := d.Ready(t.Context(), stored, backup.Over{}, dumptest.Task(t)); !errors.Is(err, backup.ErrConflict) || !strings.Contains(err.Error(), "migrate") {
		t.Error(err)
	}
	if err := d.Ready(t.Context(), stored, backup.Over{Force: true}, dumptest.Task(t)); err != nil {
		t.Error(err)
	}
}
