package dump

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddy-backup/caddy-backup/backup"
	"github.com/caddy-backup/caddy-backup/dump/dumptest"
	"github.com/caddy-backup/caddy-backup/repo"
)

// certificate makes a certificate and its private key, as PEM.
func certificate(t testing.TB) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err1 := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	plain, err2 := x509.MarshalPKCS8PrivateKey(private)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: plain}))
}

// writeFiles writes files below a folder by their paths.
func writeFiles(t testing.TB, root string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// saveCaddy saves the source and gives the files of the snapshot, and the folder as it can be restored.
func saveCaddy(t *testing.T, c *Caddy) (files map[string]string, facts backup.Facts, r *repo.Repository, folder repo.Node) {
	t.Helper()
	r, tree, err := inSnapshot(t, func(root *repo.Dir) error {
		n, err := c.Root(backup.Part{})
		if err != nil {
			return err
		}
		n.Name = "certs"
		dir, err := root.Mkdir(n)
		if err != nil {
			return err
		}
		if facts, err = c.DumpFolder(t.Context(), backup.Part{Name: "certs", Folder: true}, dir, dumptest.Task(t)); err != nil {
			return err
		}
		_, err = dir.Close()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	files = map[string]string{}
	for entry, err := range r.Walk(t.Context(), tree) {
		if err != nil {
			t.Fatal(err)
		}
		wantMode := fs.FileMode(0o600)
		if entry.Node.Type == "dir" {
			wantMode = fs.ModeDir | 0o700
		}
		if entry.Node.Mode != wantMode {
			t.Errorf("%s has the mode %v", entry.Path, entry.Node.Mode)
		}
		if entry.Node.Type == "file" {
			files[strings.TrimPrefix(entry.Path, "certs/")] = readNode(t, r, entry.Node)
		}
	}
	if folder, err = r.Lookup(t.Context(), tree, "certs"); err != nil {
		t.Fatal(err)
	}
	return files, facts, r, folder
}

func readNode(t testing.TB, r *repo.Repository, n repo.Node) string {
	t.Helper()
	f, err := r.OpenFile(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b bytes.Buffer
	if _, err := f.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func paths(files map[string]string) (names []string) {
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func TestCaddyStorage(t *testing.T) {
	root := t.TempDir()
	cert, key := certificate(t)
	_, other := certificate(t)
	writeFiles(t, root, map[string]string{
		"certificates/local/shop/shop.crt": cert, "certificates/local/shop/shop.key": key, "certificates/local/shop/shop.json": "{}",
		"certificates/local/wrong/wrong.crt": cert, "certificates/local/wrong/wrong.key": other,
		"certificates/local/shop/3174529301": "half a certificate", // what a crash leaves behind
		"pki/authorities/local/root.crt":     cert,
		"empty":                              "",
		"locks/issue_cert_shop.lock":         "{}",
		"rw_test_123":                        "x",
		"backup/default-0011.password":       "secret", "backup/repository/config": "x", "backup/runs/1.json": "{}",
		"backup/settings/shop/jobs/db.json": "{}",
		"disk/snapshots/config":             "another repository of ours", "disk/note": "not ours",
	})
	c := &Caddy{storage: &certmagic.FileStorage{Path: root}, autosave: filepath.Join(root, "no such file")}
	c.SkipPaths([]string{filepath.Join(root, "disk", "snapshots"), "/elsewhere", filepath.Join(root, "backup")})
	files, facts, r, folder := saveCaddy(t, c)
	want := []string{"storage/backup/settings/shop/jobs/db.json", "storage/certificates/local/shop/shop.crt", "storage/certificates/local/shop/shop.json", "storage/certificates/local/shop/shop.key",
		"storage/certificates/local/wrong/wrong.crt", "storage/certificates/local/wrong/wrong.key", "storage/disk/note", "storage/empty",
		"storage/pki/authorities/local/root.crt"}
	if got := paths(files); !slices.Equal(got, want) {
		t.Errorf("saved: %q\nwant: %q", got, want)
	}
	if facts.Source != "storage "+root+" and the configuration" || facts.Checked != "every key read, and unchanged after that; 1 certificates fit their private keys" {
		t.Errorf("%+v", facts)
	}
	if len(facts.Notes) != 2 || !strings.HasPrefix(facts.Notes[0], "/certificates/local/wrong/wrong.crt does not fit its private key: ") ||
		!strings.Contains(facts.Notes[1], "is not saved as JSON") {
		t.Errorf("%q", facts.Notes)
	}
	if _, _, _, again := saveCaddy(t, c); again.Subtree.String() != folder.Subtree.String() {
		t.Error("an unchanged storage does not look unchanged")
	}

	place := filepath.Join(t.TempDir(), "restored")
	restore := func() error {
		return c.RestoreFolder(t.Context(), backup.Part{Name: "certs", Folder: true}, r, folder, place, dumptest.Task(t))
	}
	if err := restore(); err != nil {
		t.Fatal(err)
	}
	back := &certmagic.FileStorage{Path: place}
	if data, err := back.Load(t.Context(), "certificates/local/shop/shop.key"); err != nil || string(data) != key {
		t.Errorf("%q, %v", data, err)
	}
	before, err1 := os.Stat(filepath.Join(root, "certificates/local/shop/shop.key"))
	after, err2 := os.Stat(filepath.Join(place, "certificates/local/shop/shop.key"))
	if err1 != nil || err2 != nil || !before.ModTime().Equal(after.ModTime()) || after.Mode() != 0o600 {
		t.Errorf("%v %v, %v", before, after, errors.Join(err1, err2))
	}
	if err := restore(); !errors.Is(err, backup.ErrConflict) {
		t.Errorf("over something: %v", err)
	}
	place = filepath.Join(t.TempDir(), "cut")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.RestoreFolder(ctx, backup.Part{}, r, folder, place, dumptest.Task(t)); err == nil {
		t.Error("a cancelled restore went through")
	}
	if left, err := os.ReadDir(filepath.Dir(place)); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := c.RestoreFolder(t.Context(), backup.Part{}, r, folder, "relative", dumptest.Task(t)); !errors.Is(err, backup.ErrInvalid) {
		t.Errorf("to a relative place: %v", err)
	}
}

// flatStorage knows no folders, as storages of keys and values do: List names whatever is below, Stat only keys.
type flatStorage struct {
	certmagic.Storage
	values map[string]string
	load   func(key string) // called before a value is given
}

func (s *flatStorage) List(_ context.Context, prefix string, _ bool) (keys []string, err error) {
	for key := range s.values {
		if prefix == "" || strings.HasPrefix(key, prefix+"/") {
			keys = append(keys, key)
		}
	}
	if keys == nil {
		return nil, fs.ErrNotExist
	}
	return keys, nil
}

func (s *flatStorage) Stat(_ context.Context, key string) (certmagic.KeyInfo, error) {
	value, ok := s.values[key]
	if !ok {
		return certmagic.KeyInfo{}, fs.ErrNotExist
	}
	return certmagic.KeyInfo{Key: key, Size: int64(len(value)), Modified: time.Unix(int64(len(value)), 0), IsTerminal: true}, nil
}

func (s *flatStorage) Load(_ context.Context, key string) ([]byte, error) {
	if s.load != nil {
		s.load(key)
	}
	value, ok := s.values[key]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(value), nil
}

func TestCaddyStorageOfKeys(t *testing.T) {
	s := &flatStorage{values: map[string]string{"a/b/c.key": "1", "a/b/c.crt": "2", "a/d": "3", "e": "", "1234567": "4", "locks/x": "5"}}
	files, facts, _, _ := saveCaddy(t, &Caddy{storage: s})
	want := []string{"storage/1234567", "storage/a/b/c.crt", "storage/a/b/c.key", "storage/a/d", "storage/e"}
	if got := paths(files); !slices.Equal(got, want) || facts.Source != "storage dump.flatStorage and the configuration" {
		t.Errorf("saved: %q, %+v", got, facts)
	}
}

// TestCaddyStorageChanges: a certificate that is renewed while it is read is read again, until certificate and key are
// of one moment; what never rests is noted.
func TestCaddyStorageChanges(t *testing.T) {
	s := &flatStorage{values: map[string]string{"site/a.crt": "old", "site/a.key": "old"}}
	renewed := false
	s.load = func(key string) {
		if key == "site/a.key" && !renewed {
			renewed, s.values["site/a.crt"], s.values["site/a.key"] = true, "renewed", "renewed"
		}
	}
	files, facts, _, _ := saveCaddy(t, &Caddy{storage: s})
	if files["storage/site/a.crt"] != "renewed" || files["storage/site/a.key"] != "renewed" || len(facts.Notes) != 2 {
		t.Errorf("%q %+v", files, facts)
	}
	s.load = func(string) { s.values["site/a.crt"] += "." }
	_, facts, _, _ = saveCaddy(t, &Caddy{storage: s})
	if facts.Checked != "every key read, 1 folders while they changed, see notes" || !strings.HasPrefix(facts.Notes[0], "/site changed while it was read, 4 times") {
		t.Errorf("%+v", facts)
	}
	s.load = func(key string) { delete(s.values, key) }
	if files, _, _, _ := saveCaddy(t, &Caddy{storage: s}); len(files) != 0 {
		t.Errorf("%q", files)
	}
}

func TestCaddyConfigFiles(t *testing.T) {
	root := t.TempDir()
	t.Setenv("DUMP_TEST_CONF", "conf")
	t.Setenv("DUMP_TEST_SECRET", "canary")
	writeFiles(t, root, map[string]string{
		"Caddyfile": "{\n\tbackup {\n\t\tjob self {\n\t\t\tsource certs caddy\n\t\t}\n\t}\n}\nimport {$DUMP_TEST_CONF}/*.caddy\nimport snippet\n(snippet) {\n" +
			"\timport {$DUMP_TEST_NONE:more}\n}\nlocalhost {\n\timport logs one two\n\trespond import nothing\n}\n",
		"conf/a.caddy": "import ../deeper", "conf/b.caddy": "# {env.DUMP_TEST_SECRET}\n", "more": "", "logs": "log", "deeper": "import Caddyfile", "nothing": "x",
	})
	file := filepath.Join(root, "Caddyfile")
	c := &Caddy{storage: &flatStorage{}, Caddyfile: configFiles(file, 4, "caddy"), autosave: filepath.Join(root, "autosave.json")}
	var listed []string
	for _, f := range c.Caddyfile {
		rel, _ := filepath.Rel(root, f.Path)
		listed = append(listed, rel)
	}
	if want := []string{"Caddyfile", "conf/a.caddy", "conf/b.caddy", "more", "logs", "deeper"}; !slices.Equal(listed, want) {
		t.Errorf("%q, want %q", listed, want)
	}
	for _, other := range [][]ConfigFile{configFiles("", 4, "caddy"), configFiles(file, 5, "caddy"), configFiles(file, 4, "sqlite"), configFiles(root+"/no", 4, "caddy")} {
		if other != nil {
			t.Errorf("%v", other)
		}
	}

	ours, err := json.Marshal(c.Caddyfile)
	if err != nil {
		t.Fatal(err)
	}
	running := `{"apps":{"backup":{"jobs":[{"name":"self","sources":[{"name":"certs","source":{"engine":"caddy","caddyfile":` + string(ours) + `}}]}]}}}`
	writeFiles(t, root, map[string]string{"autosave.json": running})
	files, facts, _, _ := saveCaddy(t, c)
	if files["config.json"] != running || len(facts.Notes) != 0 {
		t.Errorf("%q %+v", files["config.json"], facts)
	}
	if got := files["caddyfile"+root+"/conf/b.caddy"]; got != "# {env.DUMP_TEST_SECRET}\n" || len(files) != 7 {
		t.Errorf("%q of %q", got, paths(files))
	}

	// Another Caddy's configuration, a file that changed, one that is gone.
	writeFiles(t, root, map[string]string{"autosave.json": strings.Replace(running, "Caddyfile", "Otherfile", 1), "logs": "changed"})
	if err := os.Remove(filepath.Join(root, "more")); err != nil {
		t.Fatal(err)
	}
	files, facts, _, _ = saveCaddy(t, c)
	notes := strings.Join(facts.Notes, "\n")
	for _, want := range []string{"logs was changed since it was loaded", "more was parsed and cannot be read now", "is not saved as JSON"} {
		if !strings.Contains(notes, want) {
			t.Errorf("no note %q:\n%s", want, notes)
		}
	}
	if _, ok := files["config.json"]; ok || files["caddyfile"+root+"/logs"] != "changed" {
		t.Errorf("%q", files)
	}
}
