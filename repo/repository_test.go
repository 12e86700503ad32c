package repo

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestInit(t *testing.T) {
	r, st := newTestRepo(t, Options{Location: "/srv/backups"})
	c := r.Config()
	if c.Version != 2 || len(c.ID) != 64 || len(c.ChunkerPolynomial) != 14 {
		t.Errorf("config = %+v", c)
	}
	again, err := Open(t.Context(), st, []byte("test"), Options{})
	if err != nil || again.Config() != c || again.key.raw != r.key.raw {
		t.Fatalf("open: %v", err)
	}
	if err := again.LoadIndex(t.Context()); err != nil {
		t.Error(err)
	}
	if s, err := again.Snapshots(t.Context()); err != nil || len(s) != 0 {
		t.Error(s, err)
	}
	_, err = Open(t.Context(), st, []byte("other"), Options{Location: "/srv/backups"})
	if !errors.Is(err, ErrWrongPassword) || !strings.Contains(err.Error(), "/srv/backups") {
		t.Errorf("wrong password: %v", err)
	}
	if _, err := Init(t.Context(), st, []byte("test"), cheap); !errors.Is(err, ErrExists) {
		t.Errorf("init again: %v", err)
	}
	other, _ := newTestRepo(t, Options{})
	if other.Config().ID == c.ID || other.Config().ChunkerPolynomial == c.ChunkerPolynomial {
		t.Error("two repositories are alike")
	}
}

// TestInitRefuses makes sure that Init changes nothing where anything of a repository is.
func TestInitRefuses(t *testing.T) {
	for _, left := range []string{"config", "keys", "snapshots", "index", "data/00"} {
		st := dirStorage{t.TempDir()}
		name := left
		if left != "config" {
			name += "/" + strings.Repeat("0", 64)
		}
		if err := st.Put(t.Context(), name, []byte("something")); err != nil {
			t.Fatal(err)
		}
		if _, err := Init(t.Context(), st, []byte("test"), cheap); !errors.Is(err, ErrExists) {
			t.Errorf("with %s: %v", name, err)
		}
		n := 0
		for range st.List(t.Context(), "") {
			n++
		}
		if n != 1 {
			t.Errorf("with %s: Init left %d files", name, n)
		}
	}
	if _, err := Init(t.Context(), dirStorage{t.TempDir()}, nil, cheap); err == nil {
		t.Error("an empty password was accepted")
	}
	for _, o := range []Options{{Compression: "best"}, {PackSize: 1}, {KDF: KDF{N: 3, R: 1, P: 1}}} {
		if _, err := Init(t.Context(), dirStorage{t.TempDir()}, []byte("x"), o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

// TestInitInterrupted kills Init before each of its writes: the next one completes the repository.
func TestInitInterrupted(t *testing.T) {
	for crash := range 2 {
		st := &faultStorage{dirStorage: dirStorage{t.TempDir()}}
		puts := 0
		st.fail = func(op, _ string) error {
			if op == "put" {
				if puts++; puts > crash {
					return errors.New("power cut")
				}
			}
			return nil
		}
		if _, err := Init(t.Context(), st, []byte("test"), cheap); err == nil {
			t.Fatal("Init did not notice")
		}
		if _, err := Open(t.Context(), st, []byte("test"), cheap); !errors.Is(err, ErrNoRepository) {
			t.Errorf("open what Init left after %d writes: %v", crash, err)
		}
		st.fail = nil
		if crash == 1 {
			if _, err := Init(t.Context(), st, []byte("another"), cheap); !errors.Is(err, ErrExists) {
				t.Errorf("init with another password: %v", err)
			}
		}
		if _, err := Init(t.Context(), st, []byte("test"), cheap); err != nil {
			t.Errorf("init after %d writes: %v", crash, err)
		}
		if _, err := Open(t.Context(), st, []byte("test"), cheap); err != nil {
			t.Errorf("open after %d writes: %v", crash, err)
		}
	}
}

func TestOpenNothing(t *testing.T) {
	st := dirStorage{t.TempDir()}
	o := Options{Location: "sftp://nas/backups"}
	if _, err := Open(t.Context(), st, []byte("test"), o); !errors.Is(err, ErrNoRepository) || !strings.Contains(err.Error(), o.Location) {
		t.Errorf("empty place: %v", err)
	}
	if err := st.Put(t.Context(), "config", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), st, []byte("test"), o); !errors.Is(err, ErrNoRepository) {
		t.Errorf("empty config: %v", err)
	}
}

// putKey stores bytes as a key file under its right name.
func putKey(t *testing.T, st Storage, data []byte) {
	t.Helper()
	if err := st.Put(t.Context(), "keys/"+Hash(data).String(), data); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedKeys opens beside every kind of bad key file, and says what is wrong when none is left.
func TestDamagedKeys(t *testing.T) {
	r, st := newTestRepo(t, Options{})
	files, err := listFiles(t.Context(), st, "keys")
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	good, err := st.Get(t.Context(), files[0].Name, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(m map[string]any)) []byte {
		var m map[string]any
		if err := json.Unmarshal(good, &m); err != nil {
			t.Fatal(err)
		}
		f(m)
		data, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	salt := answerKey(t) // any
	bad := map[string][]byte{
		"empty":          {},
		"no JSON":        []byte("hello"),
		"null":           []byte("null"),
		"argon2":         change(func(m map[string]any) { m["kdf"] = "argon2" }),
		"short salt":     change(func(m map[string]any) { m["salt"] = base64.StdEncoding.EncodeToString(salt.raw.encrypt[:]) }),
		"N no power":     change(func(m map[string]any) { m["N"] = 17 }),
		"N 1":            change(func(m map[string]any) { m["N"] = 1 }),
		"N negative":     change(func(m map[string]any) { m["N"] = -16 }),
		"r 0":            change(func(m map[string]any) { m["r"] = 0 }),
		"p negative":     change(func(m map[string]any) { m["p"] = -1 }),
		"memory":         change(func(m map[string]any) { m["N"] = 1 << 30 }),
		"overflow":       change(func(m map[string]any) { m["N"], m["r"], m["p"] = 1<<20, 1<<30, 1<<30 }),
		"time":           change(func(m map[string]any) { m["p"] = 1 << 24 }),
		"short data":     change(func(m map[string]any) { m["data"] = "AAAA" }),
		"master key":     keyFileOf(t, `{"mac":{"k":"AAAA","r":"AAAA"},"encrypt":"AAAA"}`),
		"no master key":  keyFileOf(t, `{}`),
		"master no JSON": keyFileOf(t, `x`),
		"large":          bytes.Repeat([]byte(" "), maxKeyFile+1),
	}
	for name, data := range bad {
		if _, err := openKeyFile(data, []byte("test")); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
		putKey(t, st, data)
	}
	if err := st.Put(t.Context(), "keys/"+strings.Repeat("0", 64), good); err != nil { // right content, wrong name
		t.Fatal(err)
	}
	again, err := Open(t.Context(), st, []byte("test"), Options{})
	if err != nil || again.key.raw != r.key.raw {
		t.Fatalf("open beside damaged key files: %v", err)
	}
	_, err = Open(t.Context(), st, []byte("wrong"), Options{})
	if !errors.Is(err, ErrWrongPassword) || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), strings.Repeat("0", 64)) {
		t.Errorf("wrong password beside damaged key files: %v", err)
	}
	if err := st.Delete(t.Context(), files[0].Name); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), st, []byte("test"), Options{}); !errors.Is(err, ErrDamaged) || errors.Is(err, ErrWrongPassword) {
		t.Errorf("only damaged key files: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(st.root, "keys")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), st, []byte("test"), Options{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("no key files: %v", err)
	}
}

// keyFileOf seals any master JSON with the password "test".
func keyFileOf(t *testing.T, master string) []byte {
	t.Helper()
	salt := make([]byte, saltSize)
	k, err := cheap.KDF.derive([]byte("test"), salt)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(keyFile{KDF: "scrypt", N: 16, R: 1, P: 1, Salt: salt, Data: k.seal(nil, []byte(master))})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestManyKeys tries at most twenty passwords, as restic does, however many key files there are.
func TestManyKeys(t *testing.T) {
	r, st := newTestRepo(t, Options{})
	for i := range 24 {
		data, err := newKeyFile(r.key, fmt.Appendf(nil, "password %d", i), r.opt)
		if err != nil {
			t.Fatal(err)
		}
		putKey(t, st, data)
	}
	opened, refused := 0, 0
	for i := range 24 {
		_, err := Open(t.Context(), st, fmt.Appendf(nil, "password %d", i), Options{})
		switch {
		case err == nil:
			opened++
		case errors.Is(err, ErrWrongPassword) && strings.Contains(err.Error(), "only the first 20 of 25"):
			refused++
		default:
			t.Error(err)
		}
	}
	if opened+refused != 24 || opened != 20 && opened != 19 { // "test" may be among the first twenty
		t.Errorf("%d passwords open, %d do not", opened, refused)
	}
}

func TestConfigRefuses(t *testing.T) {
	r, st := newTestRepo(t, Options{})
	id, poly := r.config.ID, r.config.ChunkerPolynomial
	for text, want := range map[string]error{
		`{"version":3,"id":"` + id + `","chunker_polynomial":"` + poly + `"}`:   ErrUnsupported,
		`{"version":0,"id":"` + id + `","chunker_polynomial":"` + poly + `"}`:   ErrUnsupported,
		`{"version":2,"id":"","chunker_polynomial":"` + poly + `"}`:             ErrDamaged,
		`{"version":2,"id":"` + id + `","chunker_polynomial":"3da3358b4dc175"}`: ErrDamaged,
		`{"version":2,"id":"` + id + `","chunker_polynomial":"x"}`:              ErrDamaged,
		`{"version":2,"id":"` + id + `"}`:                                       ErrDamaged,
		`{}`:                                                                    ErrUnsupported, `x`: ErrDamaged, ``: ErrDamaged, `{"version":-1}`: ErrDamaged,
		"\x02" + `{"version":2}`: ErrDamaged, // framed: fatal for restic too
	} {
		if err := st.Put(t.Context(), "config", r.key.seal(nil, []byte(text))); err != nil {
			t.Fatal(err)
		}
		_, err := Open(t.Context(), st, []byte("test"), Options{})
		if !errors.Is(err, want) || errors.Is(err, ErrWrongPassword) {
			t.Errorf("config %s: %v", text, err)
		}
	}
	for text, version := range map[string]uint{ // unknown fields, white space, and a short ID, which restic tolerates
		`{"version":1,"id":"` + id + `","chunker_polynomial":"` + poly + `"}`:                1,
		` { "x":[1], "chunker_polynomial":"` + poly + `",` + "\n" + `"id":"ab","version":2}`: 2,
	} {
		if err := st.Put(t.Context(), "config", r.key.seal(nil, []byte(text))); err != nil {
			t.Fatal(err)
		}
		again, err := Open(t.Context(), st, []byte("test"), Options{})
		if err != nil || again.Config().Version != version {
			t.Fatalf("config %s: %v", text, err)
		}
		if err := again.writable(); (version == 1) != errors.Is(err, ErrUnsupported) {
			t.Errorf("version %d writable: %v", version, err)
		}
	}
}

// TestKeyCost proves that the default is refused by nobody, and what the limits are.
func TestKeyCost(t *testing.T) {
	for _, c := range []struct {
		KDF
		ok bool
	}{
		{defaultKDF, true}, {KDF{2, 1, 1}, true}, {KDF{1 << 15, 8, 8}, true}, {KDF{1 << 18, 8, 8}, true},
		{KDF{1 << 19, 8, 1}, false}, {KDF{1 << 15, 8, 128}, false}, {KDF{1 << 15, 8, 64}, true},
		{KDF{}, false}, {KDF{1, 1, 1}, false}, {KDF{24, 1, 1}, false}, {KDF{16, 0, 1}, false}, {KDF{16, 1, 0}, false},
	} {
		if err := c.validate(); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.KDF, err)
		}
	}
}

func FuzzKey(f *testing.F) {
	f.Add([]byte(`{"kdf":"scrypt","N":16,"r":1,"p":1,"salt":"","data":""}`))
	for _, name := range []string{"v2-0.14", "multikey-latest"} {
		fix, st := unpackFixture(f, name)
		for _, k := range fix.Keys {
			data, err := st.Get(f.Context(), "keys/"+k.ID.String(), 0, -1)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var k keyFile
		if json.Unmarshal(data, &k) == nil && k.N*k.R*k.P > 1<<12 {
			return // legal, but slow
		}
		if _, err := openKeyFile(data, []byte("cheap")); err != nil && !errors.Is(err, ErrWrongPassword) &&
			!errors.Is(err, ErrDamaged) && !errors.Is(err, ErrUnsupported) {
			t.Fatal(err)
		}
	})
}

func FuzzConfig(f *testing.F) {
	c, err := json.Marshal(newConfig())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c)
	f.Add([]byte(`{"version":1,"id":"x","chunker_polynomial":"3da3358b4dc173"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parseConfig(text)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrUnsupported) {
				t.Fatal(err)
			}
			return
		}
		again, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if d, err := parseConfig(again); err != nil || d != c {
			t.Fatalf("%s: %+v, %v; want %+v", again, d, err, c)
		}
	})
}
