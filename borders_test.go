package caddybackup_test

import (
	"errors"
	"fmt"
	"go/build"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/caddy-backup/caddy-backup"

// border says what a folder may import. The standard library is free, but for os/exec.
type border struct {
	ours   []string // folders of this module
	theirs []string // prefixes of import paths outside of it
	exec   bool     // os/exec: may start programs
	tests  []string // folders of this module that its tests may import as well
}

var (
	anything = []string{""} // the empty prefix fits all
	nothing  []string

	// What the engine needs from outside: no Caddy, no zap, no cloud SDK. A new line here is a decision.
	forRepo   = []string{"github.com/klauspost/compress/zstd", "github.com/minio/sha256-simd", "golang.org/x/crypto/", "golang.org/x/sync/", "golang.org/x/sys/"}
	forEngine = []string{"github.com/dustin/go-humanize", "github.com/klauspost/compress/", "github.com/robfig/cron/v3", "golang.org/x/sync/", "golang.org/x/sys/"}
	forFiles  = []string{"github.com/bmatcuk/doublestar/", "golang.org/x/sys/"}
	forTests  = []string{"go.uber.org/goleak", "golang.org/x/sys/", "pgregory.net/rapid"}
)

// forArchive is what downloads are compressed with.
var forArchive = []string{"github.com/dsnet/compress/bzip2", "github.com/klauspost/compress/", "github.com/klauspost/pgzip"}

// borders has one line for every folder with Go files. ARCHITECTURE.md draws the same.
var borders = map[string]border{
	"repo":   {theirs: forRepo, tests: []string{"storage", "storage/storagetest", "internal/realtest"}},
	"fsnode": {ours: []string{"repo"}, theirs: forFiles, tests: []string{"storage", "storage/storagetest", "internal/realtest"}},
	"backup": {ours: []string{"repo", "fsnode", "internal/near"}, theirs: forEngine, tests: []string{"backup/backuptest", "storage", "storage/storagetest", "internal/realtest"}},

	"archive": {ours: []string{"repo"}, theirs: forArchive, tests: []string{"fsnode", "repo/repotest", "storage", "internal/realtest"}},

	"repo/repotest":       {ours: []string{"repo"}, theirs: nothing},
	"storage":             {ours: []string{"repo", "backup", "internal/setting"}, theirs: anything, tests: []string{"storage/storagetest", "internal/realtest"}},
	"storage/storagetest": {ours: []string{"repo"}, theirs: nothing, tests: []string{"storage"}},
	"dump":                {ours: []string{"repo", "backup", "fsnode", "internal/setting"}, theirs: anything, exec: true, tests: []string{"backup/backuptest", "dump/dumptest", "storage", "storage/storagetest", "internal/realtest"}},
	"dump/dumptest":       {ours: []string{"repo", "backup", "internal/realtest"}, theirs: nothing, tests: []string{"dump", "storage"}},
	"backup/backuptest":   {ours: []string{"repo", "backup", "storage"}, theirs: nothing},
	"handler":             {ours: []string{"archive", "backup", "repo", "internal/setting"}, theirs: anything, tests: []string{"backup/backuptest", "storage", "storage/storagetest", "dump", "internal/realtest"}},

	"notify": {ours: []string{"archive", "backup", "internal/setting"}, theirs: anything, tests: []string{"backup/backuptest", "internal/realtest", "storage"}},

	".":              {ours: []string{"internal/near", "backup", "dump", "handler", "notify", "repo", "storage", "internal/setting"}, theirs: anything, tests: []string{"internal/realtest"}},
	"cmd/caddy":      {ours: []string{"."}, theirs: anything},
	"caddyfile_test": {ours: []string{"."}, theirs: anything, exec: true, tests: []string{"backup", "handler", "repo", "storage", "dump", "internal/realtest"}},

	"internal/near":       {theirs: nothing},
	"internal/setting":    {theirs: anything},
	"internal/realtest":   {theirs: []string{"go.uber.org/goleak"}, exec: true},
	"internal/gotest":     {theirs: nothing, exec: true},
	"examples/quickstart": {ours: []string{".", "backup", "handler"}, theirs: anything, tests: []string{"internal/realtest"}},
	"bench":               {ours: []string{"repo", "storage", "backup", "dump"}, theirs: anything, exec: true},
}

func TestBorders(t *testing.T) {
	for folder, pkg := range packages(t, ".") {
		b, known := borders[folder]
		if !known {
			t.Errorf("folder %s has no line in the table of borders: decide what it may import", folder)
			continue
		}
		for _, path := range pkg.Imports {
			if err := b.check(path); err != nil {
				t.Errorf("%s: %v", folder, err)
			}
		}
		for _, path := range slices.Concat(pkg.TestImports, pkg.XTestImports) {
			if err := b.forTests(folder).check(path); err != nil {
				t.Errorf("tests of %s: %v", folder, err)
			}
		}
	}
}

// check judges one import.
func (b border) check(path string) error {
	switch first, _, _ := strings.Cut(path, "/"); {
	case path == module || strings.HasPrefix(path, module+"/"):
		folder := strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
		if folder == "" {
			folder = "."
		}
		if !slices.Contains(b.ours, folder) {
			return fmt.Errorf("must not import our %s", folder)
		}
	case path == "os/exec" && !b.exec:
		return errors.New("must not start programs: it imports os/exec")
	case strings.Contains(first, "."):
		if !slices.ContainsFunc(b.theirs, func(p string) bool { return strings.HasPrefix(path, p) }) {
			return fmt.Errorf("must not import %s", path)
		}
	}
	return nil
}

// forTests is what the tests of a folder may import: they run real programs and use real storages, but a folder that
// knows no Caddy is tested without Caddy too.
func (b border) forTests(folder string) border {
	return border{
		ours:   slices.Concat(b.ours, b.tests, []string{folder, "repo/repotest"}),
		theirs: slices.Concat(b.theirs, forTests),
		exec:   true,
	}
}

// packages reads the imports of every folder with Go files below root, whatever its build constraints. It reads the
// files in this process: the test cache sees which ones, and a changed import is never answered from it.
func packages(t *testing.T, root string) map[string]*build.Package {
	t.Helper()
	ctx := build.Default
	ctx.UseAllFiles = true
	found := map[string]*build.Package{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if path != root && foreign(path, d.Name()) {
			return filepath.SkipDir
		}
		pkg, err := ctx.ImportDir(path, 0)
		if _, none := errors.AsType[*build.NoGoError](err); none {
			return nil
		}
		found[filepath.ToSlash(path)] = pkg
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// foreign reports whether a folder is not of this module, by the rules of the go command.
func foreign(path, name string) bool {
	if name == "testdata" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") {
		return true
	}
	_, err := os.Stat(filepath.Join(path, "go.mod"))
	return err == nil
}

// TestBordersHold proves that the judge is not blind.
func TestBordersHold(t *testing.T) {
	bad := []struct{ folder, path string }{
		{"repo", "github.com/caddyserver/caddy/v2"},
		{"repo", "go.uber.org/zap"},
		{"repo", "github.com/minio/minio-go/v7"},
		{"repo", "os/exec"},
		{"repo", module + "/storage"},
		{"repo", module + "/backup"},
		{"fsnode", module + "/backup"},
		{"fsnode", "github.com/caddyserver/caddy/v2"},
		{"backup", module + "/dump"},
		{"backup", "os/exec"},
		{"backup", "go.uber.org/zap/zapcore"},
		{"storage/storagetest", "github.com/caddyserver/caddy/v2"},
		{"storage", module + "/dump"},
		{"handler", module},
		{"handler", module + "/dump"},
		{"handler", "os/exec"},
		{"dump", module + "/handler"},
		{"notify", module + "/repo"},
	}
	for _, c := range bad {
		if borders[c.folder].check(c.path) == nil {
			t.Errorf("%s may import %s", c.folder, c.path)
		}
	}
	for _, c := range []struct{ folder, path string }{
		{"repo", "crypto/aes"}, {"repo", "golang.org/x/crypto/scrypt"}, {"backup", module + "/repo"},
		{"dump", "os/exec"}, {"handler", "github.com/caddyserver/caddy/v2/modules/caddyhttp"}, {"cmd/caddy", module},
	} {
		if err := borders[c.folder].check(c.path); err != nil {
			t.Errorf("%s: %v", c.folder, err)
		}
	}
}
