package repo

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
		ID   ID
		JSON json.RawMessage `json:"snapshot_json"`
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

// TestFixtures opens every fixture with every password and compares all but the trees with its description.
func TestFixtures(t *testing.T) {
	for _, name := range fixtureNames(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, st := unpackFixture(t, name)
			for _, password := range f.Passwords {
				r, err := Open(t.Context(), st, []byte(password), Options{})
				if err != nil {
					t.Fatalf("password %q: %v", password, err)
				}
				if r.Config() != f.Config {
					t.Errorf("config = %+v, want %+v", r.Config(), f.Config)
				}
				snapshots, err := r.Snapshots(t.Context())
				if err != nil || len(snapshots) != len(f.Snapshots) {
					t.Fatalf("%d snapshots, %v; want %d", len(snapshots), err, len(f.Snapshots))
				}
				if err := r.LoadIndex(t.Context()); err != nil {
					t.Fatal(err)
				}
				checkTrees(t, r, st)
			}
		})
	}
}

// checkTrees re-encodes every tree and expects the same bytes.
func checkTrees(t *testing.T, r *Repository, st dirStorage) {
	t.Helper()
	for pack, blobs := range r.index.packs() {
		name := "data/" + pack.String()[:2] + "/" + pack.String()
		data, err := st.Get(t.Context(), name, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		header, err := parseHeader(r.key, data, int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(header) != fmt.Sprint(blobs) {
			t.Errorf("pack %s: header %v, index %v", pack, header, blobs)
		}
		for _, b := range blobs {
			plain, err := r.key.open(nil, data[b.Offset:b.Offset+b.Length])
			if err == nil && b.Uncompressed != 0 {
				plain, err = newDecompressor().decompress(nil, plain, int(b.Uncompressed))
			}
			if err != nil {
				t.Fatalf("blob %s: %v", b.ID, err)
			}
			if Hash(plain) != b.ID || len(plain) != b.plainLength() {
				t.Fatalf("blob %s: wrong content", b.ID)
			}
			if b.Type != TreeBlob {
				continue
			}
			nodes, err := decodeTree(plain)
			if err != nil {
				t.Fatalf("tree %s: %v", b.ID, err)
			}
			again, err := encodeTree(nodes)
			if err != nil {
				t.Fatalf("tree %s: %v", b.ID, err)
			}
			if !bytes.Equal(plain, again) {
				t.Errorf("tree %s is encoded as\n%s\nwant\n%s", b.ID, again, plain)
			}
		}
	}
}
