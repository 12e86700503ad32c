package backup_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-backup/caddy-backup/internal/realtest"
	"github.com/caddy-backup/caddy-backup/repo"
	"github.com/caddy-backup/caddy-backup/storage"
)

// ledger is kept outside of the processes that get killed: what they were promised. Backups are known by their number,
// which is the first word of what they dump, whatever the ID of their snapshot.
type ledger struct {
	root    string
	next    uint64            // number of the next backup
	ids     map[string]uint64 // numbers of snapshots, where known
	kept    map[uint64]bool   // acknowledged, or seen: must be there
	doomed  map[uint64]bool   // somebody began to remove them
	gone    map[uint64]bool   // removed, which was acknowledged: must not be there
	foreign map[string]bool   // snapshots that restic made: must be there
	wounded bool              // an index file was removed, and the repair of that is not done
}

func newLedger(root string) *ledger {
	return &ledger{
		root: root, next: 1,
		ids: map[string]uint64{}, kept: map[uint64]bool{}, doomed: map[uint64]bool{}, gone: map[uint64]bool{}, foreign: map[string]bool{},
	}
}

func (l *ledger) folder() string { return filepath.Join(l.root, "repository") }

// password is the one that was generated, or took the place of that.
func (l *ledger) password(t *testing.T) string {
	t.Helper()
	files := must(filepath.Glob(filepath.Join(l.root, "data", "*.password")))(t)
	if len(files) != 1 {
		t.Fatalf("password files: %v", files)
	}
	return strings.TrimSpace(string(must(os.ReadFile(files[0]))(t)))
}

// open opens the repository as it is now.
func (l *ledger) open(t *testing.T) *repo.Repository {
	t.Helper()
	return must(repo.Open(t.Context(), storage.NewLocal(l.folder()), []byte(l.password(t)), repo.Options{}))(t)
}

// note takes down a line of a child. It returns the text of a failure.
func (l *ledger) note(line string) (failure string) {
	words := append(strings.Fields(line), "", "")
	number, known := l.ids[words[1]]
	switch words[0] {
	case "failed":
		return line
	case "backing":
		l.next++
	case "backed":
		number, _ = strconv.ParseUint(words[1], 10, 64)
		l.ids[words[2]] = number
		l.kept[number] = true
	case "renamed", "removing", "removed":
		if !known {
			return "nobody told of it before: " + line
		}
	case "wounding":
		l.wounded = true
	case "mended":
		l.wounded = false
	}
	switch words[0] {
	case "renamed": // to another file of the same backup
		l.ids[words[2]] = number
	case "removing":
		l.doomed[number] = true
		delete(l.kept, number)
	case "removed":
		l.gone[number] = true
		delete(l.doomed, number)
		delete(l.kept, number)
	}
	return ""
}

// verify compares the repository with the promises, while nobody works on it: everything that must be there is, the check
// finds nothing, and some snapshots, or all, are read byte by byte.
func (l *ledger) verify(t *testing.T, rng *rand.Rand, thorough bool) {
	t.Helper()
	r := l.open(t)
	there := l.look(t, r)
	report, err := r.Check(t.Context(), repo.CheckOptions{ReadData: thorough})
	if err != nil || report.Errors() > 0 {
		t.Fatalf("check: %v, %+v", err, report.Problems)
	}
	numbers := slices.Sorted(maps.Keys(there))
	if !thorough && len(numbers) > 2 {
		numbers = []uint64{numbers[rng.IntN(len(numbers))], numbers[len(numbers)-1]}
	}
	for _, number := range numbers {
		requireContent(t, r, there[number], number)
	}
}

// look finds out which backups are there, and settles what was open.
func (l *ledger) look(t *testing.T, r *repo.Repository) map[uint64]repo.Snapshot {
	t.Helper()
	snapshots := must(r.Snapshots(t.Context()))(t)
	there, foreign := map[uint64]repo.Snapshot{}, map[string]bool{}
	for _, s := range snapshots {
		if !slices.Contains(s.Paths, "/shop") {
			foreign[s.ID.String()] = true
			continue
		}
		number, known := l.ids[s.ID.String()]
		if !known {
			number = numberOf(t, r, s)
			l.ids[s.ID.String()] = number
		}
		there[number] = s
		if l.gone[number] || number >= l.next {
			t.Fatalf("backup %d is there, snapshot %s", number, s.ID.Short())
		}
		l.kept[number] = true
	}
	clear(l.doomed)
	for number := range l.kept {
		if _, ok := there[number]; !ok {
			t.Fatalf("backup %d was acknowledged and is lost", number)
		}
	}
	for id := range l.foreign {
		if !foreign[id] {
			t.Fatalf("snapshot %s of restic's is lost", id)
		}
	}
	return there
}

// numberOf reads the number of a backup.
func numberOf(t *testing.T, r *repo.Repository, s repo.Snapshot) (number uint64) {
	t.Helper()
	node := must(r.Lookup(t.Context(), s.Tree, "/shop/db.sql"))(t)
	f := must(r.OpenFile(t.Context(), node))(t)
	defer f.Close()
	if _, err := fmt.Fscan(bufio.NewReader(io.LimitReader(f, 30)), &number); err != nil {
		t.Fatal(err)
	}
	return number
}

// requireContent reads all of a snapshot and compares it with what was dumped.
func requireContent(t *testing.T, r *repo.Repository, s repo.Snapshot, number uint64) {
	t.Helper()
	read := func(path string) []byte {
		f := must(r.OpenFile(t.Context(), must(r.Lookup(t.Context(), s.Tree, path))(t)))(t)
		defer f.Close()
		return must(io.ReadAll(f))(t)
	}
	if !bytes.Equal(read("/shop/db.sql"), labDump(number)) {
		t.Fatalf("backup %d: another dump came back", number)
	}
	if _, err := r.Lookup(t.Context(), s.Tree, "/shop/media"); errors.Is(err, repo.ErrNotFound) {
		return // it was imported
	}
	for name, want := range labFolder(number) {
		if string(read("/shop/media/"+name)) != want {
			t.Fatalf("backup %d: another %s came back", number, name)
		}
	}
}

// restic runs restic on the repository, and takes down what it makes.
func (l *ledger) restic(t *testing.T, args ...string) {
	t.Helper()
	out := realtest.Restic(t, l.folder(), l.password(t), args...)
	if _, rest, ok := strings.Cut(out, `"snapshot_id":"`); ok {
		short, _, _ := strings.Cut(rest, `"`)
		s := must(l.open(t).FindSnapshot(t.Context(), short, repo.SnapshotFilter{}))(t)
		l.foreign[s.ID.String()] = true
	}
}
