package repo

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// fixture is testdata/restic/<name>.json: what is in the repository of <name>.tar.gz, which a real restic wrote.
type fixture struct {
	Name      string
	Passwords []string
	Config    Config
	Keys      []struct {
		ID                 ID
		N, R, P            int
		Hostname, Username string
	}
	Index []struct {
		ID           ID
		Blobs, Packs int
	}
	Packs []struct {
		ID         ID
		Size       int64
		DataBlobs  int `json:"data_blobs"`
		TreeBlobs  int `json:"tree_blobs"`
		Compressed int `json:"compressed_blobs"`
		Indexed    bool
	}
	Locks     []LockInfo
	Snapshots []struct {
		ID      ID
		JSON    any `json:"snapshot_json"`
		Entries []fixtureEntry
	}
}

// fixtureEntry is one entry of a snapshot as restic restored it.
type fixtureEntry struct {
	Path         string
	RawPath      []byte `json:"path_base64"`
	Type         string
	Mode         fs.FileMode
	Size         uint64
	SHA256       *ID
	ModTime      string `json:"mtime"`
	UID, GID     uint32
	User, Group  string
	Inode        uint64
	DeviceID     uint64 `json:"device_id"`
	Links        uint64
	Device       uint64
	LinkTarget   []byte            `json:"linktarget_base64"`
	XAttrs       map[string][]byte `json:"xattrs_base64"`
	ContentBlobs int               `json:"content_blobs"`
	Chunks       []struct {
		ID     ID
		Length int
	}
}

// fixtureNames lists the fixtures.
func fixtureNames(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/restic/*.tar.gz")
	if err != nil || len(files) < 19 {
		t.Fatalf("fixtures are missing: %d found, %v", len(files), err)
	}
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(f), ".tar.gz"))
	}
	return names
}

// unpackFixture unpacks one into a folder of its own.
func unpackFixture(t testing.TB, name string) (fixture, dirStorage) {
	t.Helper()
	text, err := os.ReadFile("testdata/restic/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var f fixture
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	packed, err := os.ReadFile("testdata/restic/" + name + ".tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := untar(dir, packed); err != nil {
		t.Fatal(err)
	}
	return f, dirStorage{filepath.Join(dir, name)}
}

func untar(dir string, packed []byte) error {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return err
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		p := filepath.Join(dir, filepath.FromSlash(h.Name))
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(p, data, 0o600); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

// TestFixturePasswords opens every fixture with every password of its description, at their real cost, and no other.
func TestFixturePasswords(t *testing.T) {
	if testing.Short() {
		t.Skip("hashing some forty passwords at their real cost")
	}
	for _, name := range fixtureNames(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, st := unpackFixture(t, name)
			for _, password := range f.Passwords {
				if _, err := Open(t.Context(), st, []byte(password), Options{}); err != nil {
					t.Errorf("password %q: %v", password, err)
				}
			}
			if name == "multikey-0.14" || name == "v2-latest" {
				_, err := Open(t.Context(), st, []byte("not "+f.Passwords[0]), Options{})
				if !errors.Is(err, ErrWrongPassword) || errors.Is(err, ErrDamaged) {
					t.Errorf("wrong password: %v", err)
				}
			}
		})
	}
}

// openFixture opens it with its last password; where that is the cheap one, without trying those that are not.
func openFixture(t testing.TB, name string) (fixture, dirStorage, *Repository) {
	t.Helper()
	f, st := unpackFixture(t, name)
	password := []byte(f.Passwords[len(f.Passwords)-1])
	for _, k := range f.Keys {
		if k.N > 16 {
			continue
		}
		key, err := readKey(t.Context(), st, FileInfo{Name: "keys/" + k.ID.String()}, password)
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := st.Get(t.Context(), configName, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		config, err := openConfig(sealed, key)
		if err != nil {
			t.Fatal(err)
		}
		return f, st, newRepository(st, key, config, Options{}.withDefaults())
	}
	r, err := Open(t.Context(), st, password, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return f, st, r
}

// TestFixtures compares all that is in every fixture with its description, to the byte.
func TestFixtures(t *testing.T) {
	for _, name := range fixtureNames(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, st, r := openFixture(t, name)
			if r.Config() != f.Config {
				t.Errorf("config = %+v, want %+v", r.Config(), f.Config)
			}
			if err := r.LoadIndex(t.Context()); err != nil {
				t.Fatal(err)
			}
			f.checkKeys(t, st)
			f.checkIndex(t, r, st)
			f.checkLocks(t, r)
			f.checkSnapshots(t, r, st)
			f.checkBlobs(t, r, st)
		})
	}
}

func (f fixture) checkKeys(t *testing.T, st dirStorage) {
	files, err := listFiles(t.Context(), st, "keys")
	if err != nil || len(files) != len(f.Keys) {
		t.Errorf("%d key files, %v; want %d", len(files), err, len(f.Keys))
	}
	for _, want := range f.Keys {
		data, err := st.Get(t.Context(), "keys/"+want.ID.String(), 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		var k keyFile
		if err := json.Unmarshal(data, &k); err != nil {
			t.Fatal(err)
		}
		if k.N != want.N || k.R != want.R || k.P != want.P || k.Hostname != want.Hostname || k.Username != want.Username {
			t.Errorf("key = %+v, want %+v", k, want)
		}
	}
}

func (f fixture) checkIndex(t *testing.T, r *Repository, st dirStorage) {
	files := indexFiles(t, r)
	if len(files) != len(f.Index) {
		t.Fatalf("%d index files, want %d", len(files), len(f.Index))
	}
	for _, want := range f.Index {
		if s := files[want.ID]; s == nil || len(s.packs) != want.Packs || s.len() != want.Blobs {
			t.Errorf("index %s is %+v, want %+v", want.ID, s, want)
		}
	}
	indexed := r.index.packs()
	for _, want := range f.Packs {
		header := readPackHeader(t, r, st, want.ID)
		count := map[string]int{}
		for _, b := range header {
			count[b.Type.String()]++
			if b.Uncompressed != 0 {
				count["compressed"]++
			}
		}
		if packSize(header) != want.Size || count["data"] != want.DataBlobs || count["tree"] != want.TreeBlobs || count["compressed"] != want.Compressed {
			t.Errorf("pack %s: %d bytes, %v; want %+v", want.ID, packSize(header), count, want)
		}
		blobs, ok := indexed[want.ID]
		if ok != want.Indexed || ok && !slices.Equal(header, blobs) {
			t.Errorf("pack %s: indexed %v as %v; want %v, %v", want.ID, ok, blobs, want.Indexed, header)
		}
		delete(indexed, want.ID)
	}
	if len(indexed) > 0 {
		t.Errorf("packs in the index that do not exist: %v", indexed)
	}
}

// readPackHeader reads a pack's header as a reader does that has only the storage: first its last bytes.
func readPackHeader(t *testing.T, r *Repository, st dirStorage, pack ID) []packedBlob {
	t.Helper()
	data, err := st.Get(t.Context(), packName(pack), 0, -1)
	if err != nil || Hash(data) != pack {
		t.Fatalf("pack %s: %v", pack, err)
	}
	size := int64(len(data))
	n, err := needTail(data[size-4:], size)
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := parseHeader(r.key, data[int(size)-n:], size)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseHeader(r.key, data[int(size)-n+1:], size); !errors.Is(err, ErrDamaged) {
		t.Errorf("pack %s: header of a tail that is too short: %v", pack, err)
	}
	return blobs
}

func (f fixture) checkLocks(t *testing.T, r *Repository) {
	locks, err := r.Locks(t.Context())
	if err != nil || !slices.Equal(locks, f.Locks) && len(f.Locks)+len(locks) > 0 {
		t.Errorf("locks = %+v, %v; want %+v", locks, err, f.Locks)
	}
}

func (f fixture) checkSnapshots(t *testing.T, r *Repository, st dirStorage) {
	all, err := r.Snapshots(t.Context())
	if err != nil || len(all) != len(f.Snapshots) {
		t.Fatalf("%d snapshots, %v; want %d", len(all), err, len(f.Snapshots))
	}
	for _, want := range f.Snapshots {
		s, err := r.FindSnapshot(t.Context(), want.ID.String(), SnapshotFilter{})
		if err != nil || s.ID != want.ID {
			t.Fatal(err)
		}
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := r.loadUnpacked(t.Context(), "snapshots", s.ID)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(text, stored) {
			t.Errorf("snapshot is encoded as\n%s\nwant\n%s", text, stored)
		}
		var got any
		if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, want.JSON) {
			t.Errorf("snapshot = %v, want %v", got, want.JSON)
		}
		checkEntries(t, r, s, want.Entries)
	}
}

// checkEntries walks a snapshot and reads every file of it.
func checkEntries(t *testing.T, r *Repository, s Snapshot, entries []fixtureEntry) {
	left := make(map[string]fixtureEntry)
	for _, e := range entries {
		left[strings.TrimPrefix(string(e.RawPath), "/")] = e
	}
	for e, err := range r.Walk(t.Context(), s.Tree) {
		if err != nil {
			t.Fatal(err)
		}
		want, ok := left[e.Path]
		if !ok {
			t.Errorf("%q should not be there", e.Path)
			continue
		}
		delete(left, e.Path)
		checkEntry(t, r, e.Node, want)
	}
	for path := range left {
		t.Errorf("%q is missing", path)
	}
}

func checkEntry(t *testing.T, r *Repository, n Node, want fixtureEntry) {
	t.Helper()
	got := fixtureEntry{
		Path: want.Path, RawPath: want.RawPath, Type: n.Type, Mode: n.Mode, Size: n.Size,
		ModTime: n.ModTime.Format(time.RFC3339Nano), UID: n.UID, GID: n.GID, User: n.User, Group: n.Group,
		Inode: n.Inode, DeviceID: n.DeviceID, Links: n.Links, Device: n.Device, ContentBlobs: len(n.Content),
		SHA256: want.SHA256, Chunks: want.Chunks,
	}
	if n.LinkTarget != "" {
		got.LinkTarget = []byte(n.LinkTarget)
	}
	for _, x := range n.ExtendedAttributes {
		if got.XAttrs == nil {
			got.XAttrs = make(map[string][]byte)
		}
		got.XAttrs[x.Name] = x.Value
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q is\n%+v\nwant\n%+v", want.Path, got, want)
	}
	if n.Type != "file" {
		return
	}
	for i, c := range want.Chunks {
		if l, ok := r.index.lookup(DataBlob, c.ID); n.Content[i] != c.ID || !ok || l.plainLength() != c.Length {
			t.Errorf("%q: blob %d is %s, %d bytes; want %+v", want.Path, i, n.Content[i], l.plainLength(), c)
		}
	}
	file, err := r.OpenFile(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	content, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	if want.SHA256 == nil || Hash(content) != *want.SHA256 {
		t.Errorf("%q: wrong content, %d bytes", want.Path, len(content))
	}
}

// lossyLink is where 0.14 stored a link target that is not UTF-8 without its raw bytes: what cannot be told apart
// cannot be written again the same.
var lossyLink = []byte(`"linktarget":"target-\ufffd\ufffd"`)

// checkBlobs decodes every blob of every indexed pack by hand, and encodes every tree again, to the same bytes.
func (f fixture) checkBlobs(t *testing.T, r *Repository, st dirStorage) {
	for pack, blobs := range r.index.packs() {
		data, err := st.Get(t.Context(), packName(pack), 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range blobs {
			plain, err := r.key.open(nil, data[b.Offset:b.Offset+b.Length])
			if err == nil && b.Uncompressed != 0 {
				plain, err = newDecompressor().decompress(nil, plain, int(b.Uncompressed))
			}
			if err != nil || Hash(plain) != b.ID || len(plain) != b.plainLength() {
				t.Fatalf("blob %s: wrong content, %v", b.ID, err)
			}
			if b.Type == TreeBlob {
				checkTree(t, plain)
			}
		}
	}
}

func checkTree(t *testing.T, plain []byte) {
	t.Helper()
	nodes, err := decodeTree(plain)
	if err != nil {
		t.Fatalf("tree %s: %v", plain, err)
	}
	again, err := encodeTree(nodes)
	if err != nil {
		t.Fatalf("tree %s: %v", plain, err)
	}
	if !bytes.Contains(plain, []byte(`"linktarget_raw"`)) {
		plain = bytes.ReplaceAll(plain, lossyLink, []byte("\"linktarget\":\"target-\ufffd\ufffd\""))
	}
	if !bytes.Equal(plain, again) {
		t.Errorf("tree is encoded as\n%s\nwant\n%s", again, plain)
	}
}
