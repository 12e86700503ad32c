package dump

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
)

// A Django project with an app of its own, users, and files that people sent.
var djangoFiles = map[string]string{
	"manage.py": `
import os, sys
from django.core.management import execute_from_command_line
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")
execute_from_command_line(sys.argv)
`,
	"site_settings.py": `
import json, os, sys
SECRET_KEY = os.environ["SITE_SECRET"]
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "shop", "bare"] + os.environ.get("SITE_APPS", "").split()
DATABASES = {"default": json.loads(os.environ.get("SITE_DB", '{"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}'))}
DATABASES.update(json.loads(os.environ.get("SITE_MORE", "{}")))
DATABASE_ROUTERS = os.environ.get("SITE_ROUTERS", "").split()
MEDIA_ROOT = "media"
if "SITE_STORAGE" in os.environ:
    DEFAULT_FILE_STORAGE = os.environ["SITE_STORAGE"]
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
NOISE = os.environ.get("SITE_NOISE")
if NOISE:
    print(NOISE)
`,
	"bare/__init__.py": "",
	"shop/__init__.py": "",
	"shop/models.py": `
import os, threading
if "CADDY_BACKUP" in os.environ:  # a thread that nobody ends
    threading.Thread(target=threading.Event().wait).start()
from django.contrib.auth.models import User
from django.db import models

class Visible(models.Manager):
    def get_queryset(self):
        return super().get_queryset().filter(hidden=False)

class Tag(models.Model):
    name = models.CharField(max_length=40, unique=True)

class Product(models.Model):
    name = models.CharField(max_length=40)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    hidden = models.BooleanField(default=False)
    tags = models.ManyToManyField(Tag)
    objects = Visible()

class Sale(models.Model):
    product = models.ForeignKey(Product, on_delete=models.CASCADE)
    buyer = models.ForeignKey(User, on_delete=models.PROTECT)
    at = models.DateTimeField()
`,
	"fill.py": `
from datetime import datetime, timezone
from django.contrib.auth.models import User
from django.db import transaction
from shop.models import *
with transaction.atomic():
    u = User.objects.create_user("alice", password="x")
    tags = [Tag.objects.create(name=" tag %d ü\r\n[ " % i) for i in range(3)]
    for i in range(60):
        p = Product(name="product %d" % i, price=i, hidden=i % 5 == 0); p.save(); p.tags.set(tags[:i % 3])
        Sale.objects.create(product=p, buyer=u, at=datetime(2026, 3, 29, i % 24, microsecond=123456, tzinfo=timezone.utc))
`,
	"media/a.txt": "a file",

	// What is hard to put back.
	"stock/__init__.py": "",
	"stock/models.py": `
import os
from django.contrib.auth.models import User
from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models.signals import m2m_changed, post_save
from shop.models import Product, Tag

class Shelf(models.Model):
    inside = models.ForeignKey("self", on_delete=models.CASCADE, null=True)
    best = models.ForeignKey("Box", on_delete=models.SET_NULL, null=True, related_name="+")

class Box(models.Model):
    shelf = models.ForeignKey(Shelf, on_delete=models.CASCADE)

class Colour(models.Model):
    name = models.CharField(max_length=40, primary_key=True)

class Note(models.Model):
    about_type = models.ForeignKey(ContentType, on_delete=models.CASCADE)
    about_id = models.IntegerField()
    about = GenericForeignKey("about_type", "about_id")

class Special(Product):
    reason = models.TextField()

class Profile(models.Model):
    user = models.OneToOneField(User, on_delete=models.CASCADE)

class Legacy(models.Model):
    text = models.CharField(max_length=40)
    class Meta:
        managed = False
        db_table = "Old Stock"

class Expensive(models.Model):
    name = models.CharField(max_length=40)
    class Meta:
        managed = False
        db_table = "stock_expensive"

def heard(sender, instance, **kwargs):
    "Knows nothing of raw."
    with open("heard", "a") as f:
        f.write("%s %s\n" % (sender.__name__, instance.pk))
    if sender is User:
        Profile.objects.create(user=instance)

for model in (User, Tag, Shelf):
    post_save.connect(heard, sender=model)
`,
	"stock/fill.py": `
from stock.models import *
for user in User.objects.all():
    Profile.objects.get_or_create(user=user)
outer = Shelf.objects.create()
for i in range(20):
    inner = Shelf.objects.create(inside=outer)
    inner.best = Box.objects.create(shelf=inner)
    inner.save()
    outer.inside = inner
    outer.save()
    Note.objects.create(about=inner)
    Special.objects.create(name="special %d" % i, price=1, reason="because")
    Colour.objects.create(name="colour %d" % i)
from django.db import connection
with connection.cursor() as cursor:
    quote = connection.ops.quote_name
    serial = {"postgresql": "SERIAL", "mysql": "INTEGER AUTO_INCREMENT"}.get(connection.vendor, "INTEGER")
    cursor.execute("CREATE TABLE %s (id %s PRIMARY KEY, text VARCHAR(40) NOT NULL)" % (quote("Old Stock"), serial))
    cursor.execute("CREATE VIEW stock_expensive AS SELECT id, name FROM shop_product WHERE price > 50")
Legacy.objects.create(text="from long ago")
`,
	"apart/__init__.py": "",
	"apart/models.py": `
from django.db import models

class Colour(models.Model):
    name = models.CharField(max_length=40)
`,
	"coded/__init__.py": "",
	"coded/models.py": `
from django.db import models

class Code(models.Model):
    text = models.CharField(max_length=4)
    def natural_key(self):
        return (self.text,)

class Coded(models.Model):
    codes = models.ManyToManyField(Code)
`,
	"exact/__init__.py": "",
	"exact/models.py": `
from django.contrib.auth.models import User
from django.contrib.postgres.fields import ArrayField, HStoreField
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models

class Thing(models.Model):
    owner = models.ForeignKey(User, on_delete=models.CASCADE)
    words = ArrayField(models.CharField(max_length=40))
    more = models.JSONField()
    pairs = HStoreField()
    found = SearchVectorField(null=True)
    class Meta:
        indexes = [GinIndex(fields=["words"], name="exact_words")]
`,
	"exact/fill.py": `
from exact.models import *
for i in range(10):
    Thing.objects.create(owner=User.objects.first(), words=["a", "ü %d" % i], more={"x": [i, None]}, pairs={"k": "v"})
`,
	"routers.py": `
class Apart:
    "The app apart is in the database other, everything else in the default one."
    def where(self, label):
        return "other" if label == "apart" else "default"
    def db_for_read(self, model, **hints):
        return self.where(model._meta.app_label)
    db_for_write = db_for_read
    def allow_relation(self, a, b, **hints):
        return True
    def allow_migrate(self, db, app_label, **hints):
        return db == self.where(app_label)
`,
}

const djangoSecret = "canary-of-the-site"

type djangoSite struct {
	t      testing.TB
	python string
	dir    string
	env    []string
}

func newDjangoSite(t testing.TB, env ...string) *djangoSite {
	t.Helper()
	s := &djangoSite{t: t, python: realtest.Django(t), dir: t.TempDir(), env: append([]string{"SITE_SECRET=" + djangoSecret}, env...)}
	for name, text := range djangoFiles {
		path := filepath.Join(s.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// filledSite is the database of a site that needs no other, so that it is made only once.
var filledSite []byte

func (s *djangoSite) fill() *djangoSite {
	s.t.Helper()
	file, usual := filepath.Join(s.dir, "db.sqlite3"), len(s.env) == 1
	if usual && filledSite != nil {
		if err := os.WriteFile(file, filledSite, 0o644); err != nil {
			s.t.Fatal(err)
		}
		return s
	}
	s.manage("migrate", "-v0") // what comes next refers to that
	s.manage("migrate", "--run-syncdb", "-v0")
	s.run(djangoFiles["fill.py"])
	if usual {
		filledSite, _ = os.ReadFile(file)
	}
	return s
}

// run has the project run Python.
func (s *djangoSite) run(code string) string {
	s.t.Helper()
	return s.manage("shell", "-c", code)
}

func (s *djangoSite) manage(args ...string) string {
	s.t.Helper()
	cmd := exec.Command(s.python, append([]string{"manage.py"}, args...)...)
	cmd.Dir, cmd.Env = s.dir, append(os.Environ(), s.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("manage.py %s: %v\n%s", args[0], err, out)
	}
	return string(out)
}

// state is everything that the project holds.
func (s *djangoSite) state() string { return s.manage("dumpdata", "--all") }

func (s *djangoSite) source(words string) *Django {
	s.t.Helper()
	if !strings.Contains(words, "python") {
		words += "\npython " + s.python
	}
	text := "django " + filepath.Join(s.dir, "manage.py") + " {" + "\n env SITE_SECRET {env.DJANGO_TEST_SECRET}\n" + words + "\n}"
	s.t.(*testing.T).Setenv("DJANGO_TEST_SECRET", djangoSecret)
	return configured(s.t, &Django{Env: extra(s.env)}, text)
}

func extra(env []string) map[string]string {
	more := map[string]string{}
	for _, kv := range env[1:] {
		key, value, _ := strings.Cut(kv, "=")
		more[key] = strings.ReplaceAll(value, "{", `\{`) // no placeholders
	}
	return more
}

func TestDjango(t *testing.T) {
	s := newDjangoSite(t).fill()
	t.Run("formats", func(t *testing.T) { testDjangoFormats(t, s.in(t)) })
	t.Run("left out", func(t *testing.T) { testDjangoLeftOut(t, s.in(t)) })
	t.Run("drill", func(t *testing.T) { testDjangoDrill(t, s.in(t)) })
	t.Run("native", func(t *testing.T) { testDjangoNative(t, s.in(t)) })
	t.Run("failures", func(t *testing.T) { testDjangoFails(t, s.in(t)) })
	t.Run("examined", func(t *testing.T) { testDjangoExamined(t, s.in(t)) })
	t.Run("admitted", func(t *testing.T) { testDjangoAdmitted(t, s.in(t)) })
	t.Run("another user", func(t *testing.T) { testDjangoUser(t, s.in(t)) })
}

// in is the site for another test.
func (s *djangoSite) in(t *testing.T) *djangoSite {
	other := *s
	other.t = t
	return &other
}

func testDjangoFormats(t *testing.T, s *djangoSite) {
	was := s.state()
	for _, words := range []string{"format jsonl", "format xml\nindent 0", "format yaml", ""} {
		d := s.source(words)
		stored, dump := dumped(t, d)
		if rows := stored.Facts.Rows; rows["shop.product"] != 60 || rows["shop.sale"] != 60 || rows["shop.tag"] != 3 || rows["auth.user"] != 1 {
			t.Errorf("%s: %v", words, rows)
		}
		if words == "" {
			s.manage("shell", "-c", "from shop.models import *; Sale.objects.filter(id__gt=10).delete(); Tag.objects.create(name='newer'); Product.objects.all()[3].tags.clear()")
			if err := d.Ready(t.Context(), stored, backup.Over{}, dumptest.Task(t)); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Overwrite(t.Context(), stored, bytes.NewReader(dump), backup.Over{}, dumptest.Task(t)); err != nil {
			t.Fatalf("%s: %v", words, err)
		}
	}
	if got := s.state(); got != was {
		t.Errorf("the project holds\n%.500s\nwant\n%.500s", got, was)
	}
	if n := sqliteValue(t, filepath.Join(s.dir, "db.sqlite3"), "SELECT count(*) FROM shop_sale WHERE at LIKE '%.123456'"); n != int64(60) {
		t.Errorf("%v times came back with their microseconds", n) // which state does not show
	}
}

// What is excluded is in no dump, of the safety snapshot neither: it stays as it is.
func testDjangoLeftOut(t *testing.T, s *djangoSite) {
	d := s.source("exclude contenttypes auth.permission shop.sale")
	stored, dump := dumped(t, d)
	s.manage("shell", "-c", "from shop.models import *; Tag.objects.create(name='newer')")
	is := s.manage("dumpdata", "--all", "contenttypes", "auth.permission", "shop.sale")
	at := backup.Scratch{Dir: t.TempDir()}
	if _, err := d.Drill(t.Context(), stored, bytes.NewReader(dump), at, dumptest.Task(t)); err != nil {
		t.Error(err)
	}
	if err := d.Overwrite(t.Context(), stored, bytes.NewReader(dump), backup.Over{}, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	if got := s.manage("dumpdata", "--all", "contenttypes", "auth.permission", "shop.sale"); got != is {
		t.Errorf("what is left out was\n%.500s\nand is\n%.500s", is, got)
	}
	if tags := s.manage("dumpdata", "--all", "shop.tag"); strings.Contains(tags, "newer") {
		t.Error(tags)
	}
}

func testDjangoDrill(t *testing.T, s *djangoSite) {
	was := s.state()
	d := s.source("apps auth shop\nnatural_keys")
	stored, dump := dumped(t, d)
	if stored.Facts.Source != "apps auth, shop of "+d.Manage || !strings.HasPrefix(stored.Facts.Engine, "Django ") {
		t.Errorf("facts = %+v", stored.Facts)
	}
	facts, err := d.Drill(t.Context(), stored, bytes.NewReader(dump), backup.Scratch{Dir: t.TempDir()}, dumptest.Task(t))
	if err != nil || facts.Rows["shop.sale"] != 60 || !maps.Equal(facts.Rows, stored.Facts.Rows) {
		t.Errorf("%+v, %v", facts, err)
	}
	for name, bad := range map[string][]byte{
		"half":                 dump[:len(dump)/2],
		"of another project":   bytes.ReplaceAll(dump, []byte("shop.sale"), []byte("shop.rent")),
		"refers to what isn't": bytes.ReplaceAll(dump, []byte(`"product": 7,`), []byte(`"product": 7777,`)),
	} {
		if _, err := d.Drill(t.Context(), stored, bytes.NewReader(bad), backup.Scratch{Dir: t.TempDir()}, dumptest.Task(t)); err == nil {
			t.Errorf("a fixture that is %s can be restored", name)
		}
		if err := d.Overwrite(t.Context(), stored, bytes.NewReader(bad), backup.Over{}, dumptest.Task(t)); err == nil {
			t.Errorf("a fixture that is %s was restored", name)
		}
	}
	if s.state() != was {
		t.Error("the project is not as it was")
	}
	place := filepath.Join(t.TempDir(), "new.sqlite3")
	if err := d.Restore(t.Context(), stored.Part, bytes.NewReader(dump), place, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	if err := d.Restore(t.Context(), stored.Part, bytes.NewReader(dump), place, dumptest.Task(t)); err == nil {
		t.Error("something that exists was restored over")
	}
	if left, _ := filepath.Glob(filepath.Dir(place) + "/.*"); len(left) > 0 {
		t.Error(left)
	}
}

func testDjangoNative(t *testing.T, s *djangoSite) {
	d := s.source("engine native\nmedia")
	parts, err := d.Parts(t.Context(), "site")
	if err != nil || len(parts) != 2 || parts[0].Name != "site.sqlite3" || parts[1].Name != "site-media" || !parts[1].Folder {
		t.Fatalf("%v, %v", parts, err)
	}
	was := s.state()
	stored, dump := dumped(t, d)
	if stored.Facts.Source != filepath.Join(s.dir, "db.sqlite3") && !strings.Contains(stored.Facts.Source, "db.sqlite3") {
		t.Errorf("facts = %+v", stored.Facts)
	}
	s.manage("flush", "--no-input")
	if err := d.Ready(t.Context(), stored, backup.Over{}, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	if err := d.Overwrite(t.Context(), stored, bytes.NewReader(dump), backup.Over{}, dumptest.Task(t)); err != nil {
		t.Fatal(err)
	}
	if s.state() != was {
		t.Error("the project is not as it was")
	}
	root, err := d.Root(parts[1])
	if err != nil || root.Name != "media" {
		t.Errorf("%+v, %v", root, err)
	}
	testDjangoMedia(t, s, d, parts[1])
	if _, err := d.Drill(t.Context(), stored, bytes.NewReader(dump), backup.Scratch{Dir: t.TempDir()}, dumptest.Task(t)); err != nil {
		t.Error(err)
	}
	for _, diagnosis := range d.Examine(t.Context(), dumptest.Task(t)) {
		if diagnosis.Level == backup.LevelError {
			t.Error(diagnosis.Text)
		}
	}
}

// testDjangoMedia restores MEDIA_ROOT over the live one, whole and in part, also when it is gone.
func testDjangoMedia(t *testing.T, s *djangoSite, d *Django, p backup.Part) {
	media := filepath.Join(s.dir, "media")
	was := readTree(t, media)
	r, tree, err := inSnapshot(t, func(top *repo.Dir) error {
		root, err := d.Root(p)
		if err != nil {
			return err
		}
		root.Name = p.Name
		dir, err := top.Mkdir(root)
		if err == nil {
			_, err = d.DumpFolder(t.Context(), p, dir, dumptest.Task(t))
			dir.Finish()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	node, err := r.Lookup(t.Context(), tree, p.Name)
	if err != nil {
		t.Fatal(err)
	}
	if facts, err := d.DrillFolder(t.Context(), backup.Stored{Part: p, Files: 1}, r, node, drillPlace(t), dumptest.Task(t)); err != nil ||
		!strings.Contains(facts.Checked, "files restored and read back: 1") {
		t.Errorf("%+v, %v", facts, err)
	}
	over := func(sub string) error {
		stored := backup.Stored{Part: p, Sub: sub}
		node, err := r.Lookup(t.Context(), tree, strings.TrimSuffix(p.Name+"/"+sub, "/"))
		if err != nil {
			return err
		}
		if live, want := d.Live(stored), strings.TrimSuffix(d.Manage+":MEDIA_ROOT/"+sub, "/"); live != want {
			t.Errorf("live is %q, want %q", live, want)
		}
		if err := d.Ready(t.Context(), stored, backup.Over{}, dumptest.Task(t)); err != nil && !errors.Is(err, backup.ErrAbsent) {
			return err
		}
		return d.OverwriteFolder(t.Context(), stored, r, node, backup.Over{}, dumptest.Task(t))
	}
	writeTree(t, media, map[string]string{"a.txt": "changed", "new.txt": "new"})
	if err := over("a.txt"); err != nil {
		t.Error(err)
	}
	if got := readTree(t, media); got["a.txt"] != was["a.txt"] || got["new.txt"] != "new" {
		t.Errorf("%v", got)
	}
	for range 2 {
		if err := over(""); err != nil {
			t.Error(err)
		}
		if got := readTree(t, media); !maps.Equal(got, was) {
			t.Errorf("%v, want %v", got, was)
		}
		if err := os.RemoveAll(media); err != nil {
			t.Fatal(err)
		}
	}
	if err := over(""); err != nil {
		t.Error(err)
	}
}

func testDjangoFails(t *testing.T, s *djangoSite) {
	for _, tc := range []struct{ words, want string }{
		{"apps nothing", "No installed app with label 'nothing'"},
		{"apps bare", "app 'bare' has no models"},
		{"apps shop.nothing", "shop"},
		{"natural_keys\nenv SITE_APPS coded", "coded.Code has a natural_key, but its manager no get_by_natural_key"},
		{"database other", "there is no database 'other' in DATABASES"},
		{"env SITE_NOISE hello", "prints something else into the fixture"},
		{"settings no.such.settings", "ended with status 1"},
		{"python /no/python", "is not there"},
		{"env SITE_DB nonsense", "ended with status 1"},
		{"user nobody-that-is-here", "unknown user"},
	} {
		d := s.source(tc.words)
		_, err := d.Dump(t.Context(), firstPartNamed("db.json"), io.Discard, dumptest.Task(t))
		text := fmt.Sprint(err, backup.OutputOf(err))
		if err == nil || !strings.Contains(text, tc.want) || strings.Contains(text, djangoSecret) || strings.Contains(fmt.Sprint(err), "hello") {
			t.Errorf("%s: %v, want %q", tc.words, text, tc.want)
		}
	}
	other := s.source("")
	other.Manage = filepath.Join(t.TempDir(), "manage.py")
	if _, err := other.Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t)); err == nil || !strings.Contains(err.Error(), "cannot find manage.py") {
		t.Error(err)
	}
	if err := os.WriteFile(other.Manage, []byte("print('hello')"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Dump(t.Context(), backup.Part{}, io.Discard, dumptest.Task(t)); err == nil || !strings.Contains(err.Error(), "manage.py of a Django project") {
		t.Error(err)
	}
	if err := os.WriteFile(other.Manage, []byte("import time\ntime.sleep(60)"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := other.Dump(ctx, backup.Part{}, io.Discard, dumptest.Task(t)); err == nil {
		t.Error("no error")
	}
	dumptest.Gone(t, other.Manage)
}

func firstPartNamed(name string) backup.Part { return backup.Part{Name: name} }

// Another user runs the project, and what it writes is that one's.
func testDjangoUser(t *testing.T, s *djangoSite) {
	if os.Getuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	passable(t, filepath.Dir(s.dir))
	if out, err := exec.Command("chmod", "-R", "a+rX", s.dir).CombinedOutput(); err != nil { // whatever the umask is
		t.Fatal(err, string(out))
	}
	d := s.source("user nobody")
	stored, dump := dumped(t, d)
	defer syscall.Umask(syscall.Umask(0o077)) // as services have it
	at := backup.Scratch{Name: backup.ScratchPrefix + "20261122t010203z_abcd_" + rand.Text()[:8], Dir: t.TempDir()}
	if err := os.Chmod(at.Dir, 0o700); err != nil { // as what we keep is
		t.Fatal(err)
	}
	if _, err := d.Drill(t.Context(), stored, bytes.NewReader(dump), at, dumptest.Task(t)); err != nil {
		t.Error(err)
	}
	scratch := filepath.Join(os.TempDir(), at.Name)
	if err := os.Mkdir(scratch, 0o700); err != nil {
		t.Errorf("left behind: %v", err)
	}
	err := d.SweepDrills(t.Context(), func(name string) bool { return name == at.Name }, dumptest.Task(t))
	if _, left := os.Stat(scratch); err != nil || left == nil {
		t.Error("not swept:", err)
	}
	// That user puts something else into the place of the folder that he is to get.
	at.Dir = t.TempDir()
	private, victim := filepath.Join(at.Dir, "private"), filepath.Join(at.Dir, "victim")
	err = errors.Join(os.Mkdir(private, 0o700), os.Mkdir(victim, 0o755))
	root, openErr := os.OpenRoot(private)
	if err = errors.Join(err, openErr, os.Rename(private, private+" moved"), os.Symlink(victim, private)); err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if _, err := d.scratch(t.Context(), stored, bytes.NewReader(dump), root, private, filepath.Join(private, scratchFile), dumptest.Task(t)); err == nil {
		t.Error("tried out in the wrong folder")
	}
	info, err := os.Stat(victim)
	if err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("the other folder was given away: %v", err)
	}
	if left, _ := os.ReadDir(victim); len(left) > 0 {
		t.Errorf("written into the other folder: %v", left)
	}
	p, err := d.program("shell", "--command=import os; print('I am', os.getuid())")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := p.run(t.Context(), dumptest.Task(t), nil, &b); err != nil || strings.Contains(b.String(), "I am 0") {
		t.Errorf("%s, %v", b.String(), err)
	}
}

func TestReadFixture(t *testing.T) {
	for _, tc := range []struct{ format, text, want string }{
		{"json", "[]", "map[]"},
		{"json", " \n[{\"model\": \"a.b\", \"pk\": 1}, {\"model\": \"a.b\", \"fields\": {\"x\": \"]\"}}]\n ", "map[a.b:2]"},
		{"json", "", "cut off"},
		{"json", "[{\"model\": \"a.b\"", "cut off"},
		{"json", "[{\"model\": \"a.b\"},", "cut off"},
		{"json", "Hello\n[]", "Hello"},
		{"json", "[]\nBye", "Bye"},
		{"json", "[{\"model\": \"a.b\"}, Oops {\"model\": \"a.b\"}]", "Oops"},
		{"json", "[{\"pk\": 1}]", "does not say its model"},
		{"json", "[1]", "something else"},
		{"jsonl", "", "map[]"},
		{"jsonl", "{\"model\": \"a.b\"}\n{\"model\": \"a.c\"}\n", "map[a.b:1 a.c:1]"},
		{"jsonl", "{\"model\": \"a.b\"}\n{\"model\":", "cut off"},
		{"jsonl", "{\"model\": \"a.b\"}\nOops\n", "Oops"},
		{"xml", "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<django-objects version=\"1.0\"><object model=\"a.b\" pk=\"1\"><field>x</field></object></django-objects>", "map[a.b:1]"},
		{"xml", "<django-objects><object model=\"a.b\">", "cut off"},
		{"xml", "", "cut off"},
		{"xml", "Hello <django-objects/>", "Hello"},
		{"yaml", "[]\n", "map[]"},
		{"yaml", "- model: a.b\n  pk: 1\n  fields: {x: 'a\n\n      b'}\n- model: a.b\n", "map[a.b:2]"},
		{"yaml", "Hello\n- model: a.b\n", "Hello"},
	} {
		rows, err := readFixture(tc.format, strings.NewReader(tc.text))
		if got := fmt.Sprint(rows, err, backup.OutputOf(err)); !strings.Contains(got, tc.want) {
			t.Errorf("%s %q: %s, want %s", tc.format, tc.text, got, tc.want)
		}
	}
}

func FuzzReadFixture(f *testing.F) {
	f.Add("json", []byte(`[{"model": "a.b"}]`))
	f.Add("xml", []byte(`<django-objects><object model="a.b"/></django-objects>`))
	f.Add("yaml", []byte("- model: a.b\n"))
	f.Fuzz(func(t *testing.T, format string, text []byte) {
		_, _ = readFixture(format, bytes.NewReader(text))
	})
}
